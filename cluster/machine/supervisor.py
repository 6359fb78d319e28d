"""`ftlab up`: starts the components of the service on this machine, restarts those that die, and ends them all.

Run as `python -m cluster.machine.supervisor`; its settings come from the environment. SIGTERM, SIGINT and SIGHUP stop
the service after its jobs have saved; a second one of them, or SIGQUIT, stops it without waiting.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from cluster.machine.deleted_checkpoints import remove_left_checkpoints
from cluster.machine.environment import ensure_token, ray_environment
from cluster.machine.first_key import has_admin_key
from cluster.machine.haproxy import ingress_environment
from cluster.machine.orphans import LifeLock, end_leftovers, mark, sweep_unfinished
from cluster.machine.ports import answers, free_ports, refuse_taken_port
from cluster.machine.processes import Part, children_by_parent, identity
from ftlab.cli.service_file import state_file
from ftlab.errors import FineTuneLabError, InvalidRequestError
from ftlab.files import replacing
from ftlab.settings import Settings, load_settings
from tracking.buckets import Buckets
from tracking.deleted_folders import remove_left_folders
from tracking.mlflow_record.server import SERVER_ENVIRONMENT, server_command
from tracking.store import Store

POLL_INTERVAL_S = 0.5
NOTE_INTERVAL_S = 5.0
"""Listing the processes of the machine takes 3 ms of a core."""
STOP_GRACE_S = 15.0
DRAIN_MARGIN_S = 30.0
"""Seconds that stopping the API may take in addition to the grace time of the jobs."""
RECORD_NICENESS = 5
"""MLflow's copy and notifications may come later; a request may not."""
MAIL_SECRETS = ("FTLAB_SMTP_PASSWORD",)
HUB_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""For the processes that look models up or fetch them."""
RAY_STOP_GRACE_S = 2.0
OBJECT_STORE_BYTES = 128 * 1024**2
"""Nothing large goes through Ray's object store here."""
RAY_PORTS = (
    "dashboard-agent-grpc",
    "dashboard-agent-listen",
    "metrics-export",
    "ray-client-server",
    "runtime-env-agent",
)

logger = logging.getLogger("ftlab.supervisor")


class Supervisor:
    """Owns the parts of one service. `run` returns the exit code."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop_asked = False
        self._noted_at = 0.0
        self._is_urgent = False
        ingress = ingress_environment(settings, ray_temp_dir(settings) / "haproxy")
        env = ray_environment(settings) | mark(settings) | ingress
        logs = settings.home / "logs"
        self._kept_ports = _ports_of(settings, ingress)
        self._ray = Part("Ray", _ray_command(settings, self._kept_ports), env, logs / "ray.log")
        mlflow = server_command(settings.home / "mlflow", settings.mlflow_port)
        recorder = [sys.executable, "-m", "cluster.events.mlflow_recorder"]
        notifier = [sys.executable, "-m", "cluster.events.notifier"]
        # The code of jobs runs below Ray, and the notifier alone sends mail.
        mail_env = {name: env.pop(name) for name in MAIL_SECRETS if name in env}
        record_env = {name: value for name, value in env.items() if name not in HUB_SECRETS}
        self._api = Part("API", [sys.executable, "-m", "serve.launcher"], env, logs / "api.log")
        self._parts = [
            self._ray,
            Part("MLflow", mlflow, record_env | SERVER_ENVIRONMENT, logs / "mlflow.log", RECORD_NICENESS),
            Part("Recorder", recorder, record_env, logs / "recorder.log", RECORD_NICENESS),
            Part("Notifier", notifier, record_env | mail_env, logs / "notifier.log", RECORD_NICENESS),
            self._api,
        ]

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP):
            # nohup keeps SIGHUP away, and a script that starts the service in its background SIGINT. It keeps SIGQUIT
            # away too, with which `ftlab down --now` stops the service.
            is_kept_away = signal.getsignal(number) is signal.SIG_IGN and number in (signal.SIGINT, signal.SIGHUP)
            if not is_kept_away:
                signal.signal(number, self._on_signal)
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop)
            for part in self._parts:
                part.start()
            self._write_state("starting")
            announced = False
            while not self._stop_asked:
                self._watch()
                if not announced and self._is_ready():
                    announced = True
                    self._write_state("ready")
                    self._announce()
                time.sleep(POLL_INTERVAL_S)
        return 0

    def _on_signal(self, number: int, _: object) -> None:
        self._is_urgent |= self._stop_asked or number == signal.SIGQUIT
        self._stop_asked = True

    def _watch(self) -> None:
        restarted = False
        if time.monotonic() - self._noted_at > NOTE_INTERVAL_S:
            self._noted_at = time.monotonic()
            self._note_descendants()
        if not self._ray.is_alive():
            self._ray.command = _ray_command(self._settings, self._kept_ports)  # with ports that are free now
        for part in self._parts:
            if not part.restart_if_dead():
                continue
            restarted = True
            if part is self._ray:
                # What hung on the old cluster is of no use to the new one.
                self._api.stop(grace_s=1.0)
                self._api.start()
        if restarted:
            self._write_state("starting" if not self._is_ready() else "ready")

    def _note_descendants(self) -> None:
        children = children_by_parent()
        for part in self._parts:
            part.note_descendants(children)

    def _is_ready(self) -> bool:
        return answers(f"{self._url}/ready", timeout_s=2.0)

    @property
    def _url(self) -> str:
        return self._settings.own_url

    def _urls(self) -> dict[str, str]:
        return {
            "Web app": self._url,
            "API": self._url,
            "API docs": f"{self._url}/docs",
            "MLflow": self._settings.mlflow_page("experiments"),
            "Ray dashboard": self._settings.dashboard_url,
        }

    def _announce(self) -> None:
        for name, url in self._urls().items():
            print(f"{name:<14} {url}", flush=True)
        print(f"{'Data':<14} {self._settings.home}", flush=True)
        print("FineTune Lab is ready. Ctrl+C or `ftlab down` stops it.", flush=True)

    def _write_state(self, state: str) -> None:
        parts = {part.name: identity(part.pid) for part in self._parts if part.pid is not None and part.is_alive()}
        document = identity(os.getpid()) | {"state": state, "urls": self._urls(), "parts": parts}
        try:
            with replacing(state_file(self._settings)) as aside:
                aside.write_text(json.dumps(document, indent=1), "utf-8")
        except OSError as error:  # it only informs: on a full disk the jobs still have to be saved
            logger.warning("The state file could not be written: %s", error)

    def _stop(self) -> None:
        """End the parts: first the API, whose process has the jobs save, so that no client meets a partial service."""
        self._write_state("stopping")
        self._note_descendants()
        if not self._is_urgent:
            logger.info(
                "Stopping: running jobs save and are queued again. A second signal stops without waiting for them."
            )
        self._api.stop(self._settings.stop_grace_s + DRAIN_MARGIN_S, self._hurries)
        for part in self._parts:
            part.terminate()
        for part in self._parts:
            # `ray start --block` does not end by itself while its workers do not; they are ended with it.
            part.stop(RAY_STOP_GRACE_S if part is self._ray else STOP_GRACE_S, self._hurries)
        end_leftovers(self._settings)
        state_file(self._settings).unlink(missing_ok=True)

    def _hurries(self) -> bool:
        return self._is_urgent


def prepare(settings: Settings) -> None:
    """Check the preconditions before any component is started. Raises `FineTuneLabError` with what to do.

    The caller holds the `LifeLock` of the home.
    """
    if count := end_leftovers(settings):
        logger.info("Ended %d processes that an earlier service had left behind", count)
    for name in ("port", "mlflow_port", "dashboard_port", "ray_port"):
        refuse_taken_port(settings, name)
    ensure_token(settings)
    Buckets.open(settings).check()
    for folder in ("models", "jobs", "buckets", "mlflow/artifacts", "logs", "run"):
        (settings.home / folder).mkdir(parents=True, exist_ok=True)
    sweep_unfinished(settings)
    store = Store.open(settings.store_url)
    store.migrate()
    if not settings.is_loopback and not has_admin_key(store):
        raise InvalidRequestError(
            f"Other machines can reach {settings.host}, and there is no valid API key with the scope 'admin': "
            "start the service with 'ftlab up', which creates one.",
            "unsafe_host",
            "host",
        )
    remove_left_folders(store, settings.home / "jobs")
    remove_left_checkpoints(store, settings)
    store.close()


def _ports_of(settings: Settings, ingress: Mapping[str, str]) -> set[int]:
    """The ports of the other parts, which may not be in use yet."""
    of_haproxy = {int(value) for name, value in ingress.items() if name.endswith("_PORT")}
    return {settings.port, settings.mlflow_port, settings.dashboard_port, settings.ray_port} | of_haproxy


def _ray_command(settings: Settings, kept_ports: Collection[int]) -> list[str]:
    ports = zip(RAY_PORTS, free_ports(len(RAY_PORTS), kept_ports), strict=True)
    cpus = settings.cpus or os.cpu_count() or 1
    return [
        sys.executable,
        "-m",
        "cluster.machine.ray_head",
        "start",
        "--head",
        "--block",
        f"--port={settings.ray_port}",
        "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={settings.dashboard_port}",
        # One more than training may use: the sliver that a standby run holds must not keep a job from its cores.
        f"--num-cpus={cpus + 1}",
        "--min-worker-port=0",
        "--max-worker-port=0",
        # With ports that its agents choose, the raylet waits for them (see `ray_head`). The server for clients does
        # not start, but Ray checks its port, and the fixed one may be that of another part.
        *(f"--{name}-port={port}" for name, port in ports),
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={ray_temp_dir(settings)}",
        "--disable-usage-stats",
        # Nothing here starts machines, and no driver prints the logs of workers.
        "--no-monitor",
        "--include-log-monitor=false",
    ]


def _forget_old_sessions(settings: Settings) -> None:
    """Keep the logs of the last Ray session only; all of them would fill the disk."""
    for old in sorted(ray_temp_dir(settings).glob("session_2*"))[:-1]:
        shutil.rmtree(old, ignore_errors=True)


def ray_temp_dir(settings: Settings) -> Path:
    """A short path: Ray puts sockets below it, and the path of a socket may have 107 characters."""
    digest = hashlib.sha256(str(settings.home).encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"ftlab-{digest}"


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = load_settings()
        with LifeLock(settings):
            prepare(settings)
            _forget_old_sessions(settings)
            return Supervisor(settings).run()
    except FineTuneLabError as error:
        print(error.message, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

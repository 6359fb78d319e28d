"""`ftlab up` and `ftlab down`: start and stop the service on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ftlab.cli.app import app
from ftlab.cli.session import QuietOption, before_command

if TYPE_CHECKING:
    from ftlab.cli.output import Output
    from ftlab.cli.service_file import ServiceState
    from ftlab.settings import Settings

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
"""Seconds that a stop may take in addition to the grace time of the jobs."""
POLL_S = 0.2
LOG_LINES = 12
"""Lines of the log that are shown when the service does not come up."""
SUPERVISOR = "cluster.machine.supervisor"
LEFTOVERS = "cluster.machine.orphans"

HomeOption = Annotated[
    Path | None, typer.Option("--home", metavar="FOLDER", help="Folder that holds all data.", show_default=False)
]


def _port(part: str) -> Any:
    return typer.Option(min=1, max=65535, metavar="PORT", help=f"Port of {part}.", show_default=False)


@app.command()
def up(
    context: typer.Context,
    home: HomeOption = None,
    host: Annotated[str | None, typer.Option(help="Address of the HTTP API.", show_default=False)] = None,
    port: Annotated[int | None, _port("the HTTP API")] = None,
    mlflow_port: Annotated[int | None, _port("MLflow")] = None,
    dashboard_port: Annotated[int | None, _port("the Ray dashboard")] = None,
    ray_port: Annotated[int | None, _port("Ray itself")] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="CPU cores for training.", show_default=False)
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    standby: Annotated[
        bool | None, typer.Option("--standby/--no-standby", help="Keep a standby run ready.", show_default=False)
    ] = None,
    ingress: Annotated[
        Literal["python", "haproxy"] | None, typer.Option(help="HTTP front.", show_default=False)
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Start the service on this machine."""
    flags = {
        "home": home,
        "host": host,
        "port": port,
        "mlflow_port": mlflow_port,
        "dashboard_port": dashboard_port,
        "ray_port": ray_port,
        "cpus": cpus,
        "standby": standby,
        "ingress": ingress,
    }
    _start(flags, detach, quiet or before_command(context, "quiet"))


@app.command()
def down(
    context: typer.Context,
    home: HomeOption = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for running jobs to save.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Stop the service; running jobs save, and continue from there at the next start."""
    from ftlab.cli.output import Output
    from ftlab.cli.service_file import read_state
    from ftlab.settings import load_settings

    settings = load_settings({"home": home})
    output = Output(quiet=quiet or before_command(context, "quiet"))
    service = read_state(settings)
    if service is None:
        output.talk(f"No service is running with {settings.home}.")
    elif service.is_alive:
        _stop(settings, service, output, now=now)
    else:
        _end_leftovers(settings, output)


def _stop(settings: "Settings", service: "ServiceState", output: "Output", *, now: bool) -> None:
    from ftlab.errors import WaitTimeoutError

    how = "running jobs resume from their newest checkpoints" if now else "running jobs save now and resume"
    output.talk(f"Stopping FineTune Lab (process {service.pid}); {how} at the next start.")
    os.kill(service.pid, signal.SIGQUIT if now else signal.SIGTERM)
    timeout_s = STOP_TIMEOUT_S + (0.0 if now else settings.stop_grace_s)
    if not _has_ended(service, timeout_s):
        raise WaitTimeoutError(
            f"Process {service.pid} is still running after {timeout_s:.0f} s; see {settings.home / 'logs'}."
        )
    output.talk("Stopped.")


def _end_leftovers(settings: "Settings", output: "Output") -> None:
    """End what a killed supervisor left running."""
    from ftlab.errors import ServiceUnavailableError

    done = subprocess.run(
        service_command(LEFTOVERS), env=settings.service_environment(), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise ServiceUnavailableError(
            f"Processes that a killed service left behind could not be ended: {done.stderr.strip()}"
        )
    output.talk(done.stdout.strip())


def _start(flags: Mapping[str, object], detach: bool, quiet: bool) -> None:
    from ftlab.cli import network
    from ftlab.cli.output import Output
    from ftlab.cli.service_file import running_service
    from ftlab.errors import ConflictError
    from ftlab.settings import load_settings

    settings = load_settings(flags)
    output = Output(quiet=quiet)
    command = service_command(SUPERVISOR)
    if running := running_service(settings):
        raise ConflictError(
            f"FineTune Lab is already running with {settings.home} (process {running.pid}); stop it with 'ftlab down'."
        )
    if not settings.is_loopback:
        network.show_way_in(settings, service_command(network.FIRST_KEY), output)
    if not detach:
        os.execve(sys.executable, command, settings.service_environment())
    _start_detached(settings, command, output)


def service_command(module: str) -> list[str]:
    """The command line that runs a module of the service."""
    from ftlab.errors import InvalidRequestError

    found = find_spec("cluster") and find_spec("ray") and find_spec(module)
    if not found or found.origin is None:
        raise InvalidRequestError(
            "Only the client is installed in this Python: install the service with"
            " \"pip install -e '.[server]'\" in a checkout of FineTune Lab.",
            "server_not_installed",
        )
    # A file like train.py in the current folder must not stand in for a package of ours.
    is_checkout = Path(found.origin).parents[module.count(".")] == Path.cwd()
    return [sys.executable, *([] if is_checkout else ["-P"]), "-m", module]


def _start_detached(settings: "Settings", command: list[str], output: "Output") -> None:
    log = settings.home / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            env=settings.service_environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    output.talk(f"Starting FineTune Lab (process {process.pid}); its log is {log}.")
    try:
        service = _wait_until_ready(settings, process, log)
    except KeyboardInterrupt:
        output.talk("It is still starting in the background; check it with 'ftlab status'.")
        raise
    for name, url in service.urls.items():
        output.data(f"{name:<14} {url}")


def _wait_until_ready(settings: "Settings", process: subprocess.Popen[bytes], log: Path) -> "ServiceState":
    from ftlab.cli.service_file import read_state
    from ftlab.errors import ServiceUnavailableError, WaitTimeoutError

    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceUnavailableError(
                f"The service exited during startup (exit code {process.returncode}); the end of {log}:\n{_tail(log)}"
            )
        state = read_state(settings)
        if state is not None and state.pid == process.pid and state.state == "ready":
            return state
        time.sleep(POLL_S)
    raise WaitTimeoutError(f"The service is not ready after {START_TIMEOUT_S:.0f} s; it is still starting; see {log}.")


def _has_ended(service: "ServiceState", timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while service.is_alive:
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-LOG_LINES:])

"""The service that is measured: one at a time, with a home folder of its own and free ports."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from cluster.machine.environment import ray_environment
from cluster.machine.ports import free_ports
from cluster.machine.supervisor import ray_temp_dir
from ftlab import Client
from ftlab.cli.service_file import read_state, state_file
from ftlab.settings import Settings
from tests.bench.harness import BenchError, say
from tests.bench.processes import ROOT, answer, environment, process
from tracking.store import Store

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 90.0
STANDBY_TIMEOUT_S = 180.0
QUIET_CORES = 0.3
"""The service counts as idle when all its processes together use less than this."""
SETTLE_TIMEOUT_S = 60.0


class Service:
    """A service that was started here, or one that runs already (`is_own` is false): that one is never stopped."""

    def __init__(self, settings: Settings, *, is_own: bool) -> None:
        self.settings = settings
        self.is_own = is_own
        self._process: subprocess.Popen[bytes] | None = None
        self._open = ExitStack()
        self.client: Client
        self.store: Store

    def start(self) -> None:
        """Start the service and wait until it is ready."""
        if self.is_own:
            say(f"starting a service in {self.settings.home}")
            self._start_process()
        _wait_until_ready(self.settings, self._process)
        self.client = self._open.enter_context(Client(self.settings.server_url))
        self.store = Store.open(self.settings.store_url)
        self._open.callback(self.store.close)

    def stop(self) -> None:
        """SIGTERM to the supervisor, which ends all its parts; nothing where the service is not ours."""
        self._open.close()
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise BenchError(f"The service did not stop in {STOP_TIMEOUT_S:.0f} s.") from None
        finally:
            self._process = None

    def kill(self) -> None:
        """kill -9 of the supervisor, then of everything it started: a power cut, as far as processes go."""
        assert self._process is not None, "a service that was not started here is never ended"
        processes = self.processes()
        self._open.close()
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None
        psutil.wait_procs(processes, timeout=STOP_TIMEOUT_S)

    @contextmanager
    def away(self) -> Iterator[None]:
        """The time without the service, so that a baseline has the machine for itself."""
        if not self.is_own:
            yield
            return
        self.stop()
        yield
        self.start()

    def processes(self) -> list[psutil.Process]:
        """Everything that belongs to the service and lives now."""
        state = read_state(self.settings)
        if state is None:
            raise BenchError(f"No service runs with {self.settings.home}.")
        supervisor = psutil.Process(state.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds that the service's processes have used so far."""
        total = 0.0
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system
        return total

    def settle(self) -> None:
        """Wait until the service has done what it was told: it must not disturb the next measurement."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < deadline:
            used, since = self.cpu_s(), time.monotonic()
            time.sleep(1.0)
            if (self.cpu_s() - used) / (time.monotonic() - since) < QUIET_CORES:
                return
        say(f"the service still uses more than {QUIET_CORES} cores after {SETTLE_TIMEOUT_S:.0f} s")

    def wait_for_standby(self) -> float:
        """Wait until a standby run is ready; return when that was seen (seconds since the epoch)."""
        env = ray_environment(self.settings)
        with process("tests.bench.standby", str(STANDBY_TIMEOUT_S), env=env) as waiting:
            return float(answer(waiting))

    def _start_process(self) -> None:
        log = self.settings.home / "logs" / "supervisor.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cluster.machine.supervisor"],
                cwd=ROOT,
                env=environment() | self.settings.to_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )


@contextmanager
def own_service(**settings: Any) -> Iterator[Service]:
    """A service with these settings, not started yet, that leaves nothing behind."""
    home = Path(tempfile.mkdtemp(prefix="ftlab-bench-"))
    ports = dict(zip(("port", "mlflow_port", "dashboard_port", "ray_port"), free_ports(4), strict=True))
    service = Service(Settings(home=home, **ports, **settings), is_own=True)
    try:
        yield service
    finally:
        service.stop()
        shutil.rmtree(home)
        shutil.rmtree(ray_temp_dir(service.settings), ignore_errors=True)


def _wait_until_ready(settings: Settings, process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise BenchError(f"The service ended while it started; see {settings.home / 'logs'}.")
        with suppress(urllib.error.URLError, TimeoutError, ConnectionError):
            with urllib.request.urlopen(f"{settings.server_url}/ready", timeout=2.0):
                pass
            state = state_file(settings)
            if not state.exists():
                raise BenchError(f"The service at {settings.server_url} has no {state}; set FTLAB_HOME to its home.")
            return
        time.sleep(0.2)
    raise BenchError(f"The service is not ready after {START_TIMEOUT_S:.0f} s; see {settings.home / 'logs'}.")

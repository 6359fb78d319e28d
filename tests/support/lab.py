"""A whole service for tests: its own folder, free loopback ports, stopped by its own process id."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.machine.ports import free_ports
from cluster.machine.processes import end_processes
from ftlab import Client
from ftlab.schemas import Dataset, Event, EventKind, Job
from ftlab.settings import Settings
from tests.support.clocks import wait_for
from tests.support.tiny_models import make_tiny_model
from tracking.store import Store
from tracking.store.records import AttemptRecord

TINY = "acme/tiny"
START_TIMEOUT_S = 180.0
POLL_S = 0.2


class Lab:
    """One service started by `python -m cluster.machine.supervisor`, as `ftlab up` does."""

    def __init__(self, home: Path, **overrides: Any) -> None:
        ports = free_ports(4)
        names = ("port", "mlflow_port", "dashboard_port", "ray_port")
        self.settings = Settings(home=home, **dict(zip(names, ports, strict=True)), **overrides)
        self.process: subprocess.Popen[bytes] | None = None
        self.store = Store.open(self.settings.store_url)
        if not (home / "models" / "acme--tiny").exists():
            make_tiny_model(home / "models" / "acme--tiny")

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FTLAB_", "RAY_"))}
        return kept | self.settings.to_environment()

    def start(self) -> None:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        with (self.settings.home / "supervisor.out").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cluster.machine.supervisor"],
                env=self.environment(),
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            self.wait_until_ready()
        except BaseException:
            # No fixture stops a service that never came up.
            self.kill_everything()
            raise

    def wait_until_ready(self) -> None:
        wait_for(self._is_ready, START_TIMEOUT_S, "the service to be ready")

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.settings.home / "supervisor.out").read_text()
        try:
            with urllib.request.urlopen(f"{self.settings.server_url}/ready", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> int:
        """SIGTERM to the supervisor; everything it started must be gone with it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        self._refuse_differences()
        return code

    def _refuse_differences(self) -> None:
        """No run may have done anything else than its config says."""
        with self.store.read() as tx:
            for job in tx.jobs.list(limit=1000):
                for notice in tx.events.tail(job.ref.id, EventKind.NOTICE, 100):
                    assert notice.data["code"] != "record_differs", notice.data["message"]

    def kill_everything(self) -> None:
        """kill -9 of the supervisor and of all that it started: a power cut, as far as processes go."""
        assert self.process is not None
        end_processes([psutil.Process(self.process.pid), *self.processes()], is_urgent=lambda: True)
        self.process.wait(30)

    def processes(self) -> list[psutil.Process]:
        """Everything below the supervisor."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, title: str) -> list[psutil.Process]:
        """Processes of this service whose command line begins with `title` (Ray names its actors so)."""
        return [process for process, words in self._command_lines() if words and words[0].startswith(title)]

    def find_by_word(self, word: str) -> list[psutil.Process]:
        """Processes of this service with `word` in their command line."""
        return [process for process, words in self._command_lines() if word in " ".join(words)]

    def _command_lines(self) -> Iterator[tuple[psutil.Process, list[str]]]:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it ended meanwhile
                yield process, process.cmdline()

    def client(self) -> Client:
        return Client(self.settings.server_url)

    def attempts(self, job_id: str) -> list[AttemptRecord]:
        with self.store.read() as tx:
            return tx.attempts.of_job(job_id)

    def pids(self, job_id: str) -> tuple[int, ...]:
        return self.attempts(job_id)[-1].pids


def rows(count: int = 40) -> str:
    """A small dataset as JSONL."""
    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"What is {number} plus 1?"},
                    {"role": "assistant", "content": f"It is {number + 1}."},
                ]
            }
        )
        + "\n"
        for number in range(count)
    )


def tiny_job(dataset: Dataset, *, max_steps: int = 20, **changes: Any) -> dict[str, Any]:
    """A job of fast steps on the tiny model."""
    training = {
        "max_steps": max_steps,
        "per_device_train_batch_size": 4,
        "save_steps": 5,
        "learning_rate": 1e-3,
    } | changes.pop("training", {})
    return {"model": TINY, "dataset": dataset.id, "method": {"max_length": 64}, "training": training} | changes


@contextmanager
def frequent_polls() -> Iterator[None]:
    """Have `wait` notice the end of a job at once. The client's pauses grow to 5 s, and leave both cores idle."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("jobs", "sweeps"):
            patch.setattr(f"ftlab.client._sync.{module}.JOB_PAUSES_S", (POLL_S, POLL_S))
        yield


def follow_until(client: Client, job: Job, stop: Callable[[Event], bool]) -> Event:
    """The first event of the job for which `stop` holds."""
    for event in client.jobs.follow(job.id):
        if stop(event):
            return event
    raise AssertionError(f"{job.id} ended first: {client.jobs.get(job.id)}")


def at_step(step: int) -> Callable[[Event], bool]:
    return lambda event: event.kind == "metrics" and event.data["step"] >= step

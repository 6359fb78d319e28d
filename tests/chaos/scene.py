"""One test's view of a service: what it submits, waits for and breaks, and what must hold when it is over."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ftlab import Client
from ftlab.client.endpoint import RetryPolicy
from ftlab.errors import ConflictError
from ftlab.schemas import Dataset, Event, Job
from ftlab.status import JobStatus
from tests.chaos.outages import Database
from tests.support.clocks import wait_for
from tests.support.lab import Lab, tiny_job
from tests.support.tiny_models import make_tiny_model
from train.checkpoints import checkpoint_files

PATIENT = RetryPolicy(budget_s=240.0)
"""For the tests' own questions, which a restart of everything may delay. Followers have the default."""
STEP = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 5}
"""About 0.1 s on one core."""
NUM_ROWS = 160
FINISH_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Scale:
    """How long outages last, and how much of everything there is."""

    outage_s: float
    soak_s: float
    num_soak_jobs: int
    num_soak_variants: int
    num_soak_steps: int
    has_restarts: bool
    """Whether the soak restarts the whole service as well."""


LONG = Scale(60.0, 600.0, 20, 10, 60, has_restarts=True)
SHORT = Scale(10.0, 45.0, 2, 1, 30, has_restarts=False)


@dataclass
class Scene:
    lab: Lab
    client: Client
    dataset: Dataset
    database: Database
    scale: Scale
    submitted: list[str]
    """Every job that was ever accepted by the service."""
    own: list[str] = field(default_factory=list)
    """The jobs of this test."""

    def config(self, *, max_steps: int = 40, **changes: Any) -> dict[str, Any]:
        training = STEP | changes.pop("training", {})
        return tiny_job(self.dataset, max_steps=max_steps, training=training, **changes)

    def submit(self, *, max_steps: int = 40, **changes: Any) -> Job:
        return self.submit_config(self.config(max_steps=max_steps, **changes))

    def submit_config(self, config: dict[str, Any]) -> Job:
        job = self.client.jobs.create(config)
        self.accept(job.id)
        return job

    def accept(self, job_id: str) -> None:
        """The service has answered 201 for this job."""
        self.submitted.append(job_id)
        self.own.append(job_id)

    def status(self, job: Job) -> JobStatus:
        return self.client.jobs.get(job.id).status

    def reach(self, job: Job, step: int, timeout_s: float = 120.0) -> None:
        """Wait until the job is at `step`."""
        self._until(job, lambda found: found.step >= step, timeout_s, f"step {step}")

    def become(self, job: Job, *statuses: JobStatus, timeout_s: float = 120.0) -> None:
        """Wait until the job has one of these statuses."""
        self._until(job, lambda found: found.status in statuses, timeout_s, " or ".join(statuses))

    def has_ended(self, job: Job, *, attempt: int) -> bool:
        return self.lab.attempts(job.id)[attempt - 1].ended_at is not None

    def finish(self, job: Job, timeout_s: float = FINISH_TIMEOUT_S) -> Job:
        """Wait until the job has ended, however it does."""
        return self.client.jobs.wait(job.id, timeout_s=timeout_s, raise_on_failure=False)

    def notices(self, job: Job) -> list[Event]:
        return list(self.client.jobs.events(job.id, kinds="notice"))

    def checkpoints(self, job_id: str) -> list[tuple[int, Path]]:
        """The committed ones on the disk, oldest first."""
        return checkpoint_files.committed(self.folder(job_id) / "checkpoints")

    def folder(self, job_id: str) -> Path:
        return self.lab.settings.home / "jobs" / job_id

    def model(self, name: str, **changes: Any) -> str:
        """Another tiny base model, made at its first use."""
        folder = self.lab.settings.home / "models" / f"acme--{name}"
        if not folder.exists():
            make_tiny_model(folder, **changes)
        return f"acme/{name}"

    @contextmanager
    def follower(self, job: Job) -> "Iterator[Follower]":
        """Somebody who follows the job over the live stream; they must get every event once, whatever happens."""
        follower = Follower(self.lab.settings.server_url, job.id)
        follower.start()
        yield follower
        follower.join(FINISH_TIMEOUT_S)
        assert follower.error is None, f"the follower met {follower.error!r}"
        assert follower.seqs == list(range(1, self.client.jobs.get(job.id).last_seq + 1)), "no gap, no double"

    def clean_up(self) -> None:
        """End what a failed test left, so that the next one finds a service at rest."""
        if self.lab.process is None or self.lab.process.poll() is not None:
            self.lab.start()
        for process in self.lab.processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self.lab.wait_until_ready()
        for job_id in self.own:
            with suppress(ConflictError):
                self.client.jobs.cancel(job_id)
        for job_id in self.own:
            self.client.jobs.wait(job_id, timeout_s=60, raise_on_failure=False)

    def _until(self, job: Job, condition: Any, timeout_s: float, what: str) -> None:
        def holds() -> bool:
            found = self.client.jobs.get(job.id)
            assert condition(found) or not found.status.is_terminal, f"ended before {what}: {found}"
            return bool(condition(found))

        wait_for(holds, timeout_s, f"{job.id} to be at {what}")


class Follower(threading.Thread):
    """Collects the numbers of the job's events with a client of its own."""

    def __init__(self, server: str, job_id: str) -> None:
        super().__init__(daemon=True)
        self.seqs: list[int] = []
        self.error: Exception | None = None
        self._server = server
        self._job_id = job_id

    def run(self) -> None:
        try:
            with Client(self._server) as client:
                for event in client.jobs.follow(self._job_id):
                    self.seqs.append(event.seq)
        except Exception as error:  # told by the test that joins the thread
            self.error = error

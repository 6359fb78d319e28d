"""A coordinator that is stepped by hand: real store, fake cluster, a clock that tests move."""

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cluster.coordinator.coordinator import Coordinator
from cluster.coordinator.data_gate import SETTLED_S
from cluster.fakes import FakeCluster, FakeDriver, FakeEventHub
from ftlab.schemas import EventKind, JobConfig
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode, StopKind
from tracking.store import Store
from tracking.store.ids import new_id
from tracking.store.records import AttemptRecord, CheckpointRecord, DatasetRecord, JobRecord, JobRef

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class World:
    """One service's coordinator and all it works on."""

    def __init__(self, store: Store, home: Path, *, standby: bool = False) -> None:
        self.store = store
        self.settings = Settings(home=home, standby=standby)
        self.cluster = FakeCluster()
        self.hub = FakeEventHub()
        self._now, self._elapsed_s = START, 0.0
        self.trained: dict[str, int] = {}
        """How many files the run had that completed a job last."""
        self.coordinator = self.new_coordinator()

    def new_coordinator(self) -> Coordinator:
        return Coordinator(self.store, self.cluster, self.hub, self.settings, **self.clocks)

    @property
    def now(self) -> datetime:
        """The time; what is added to it passes on the clock that nobody sets, too."""
        return self._now

    @now.setter
    def now(self, now: datetime) -> None:
        self._elapsed_s += max(0.0, (now - self._now).total_seconds())
        self._now = now

    @property
    def clocks(self) -> Any:
        """The clocks that a coordinator reads."""
        return {"clock": lambda: self._now, "monotonic": lambda: self._elapsed_s}

    def keep_standby(self) -> None:
        self.settings = self.settings.model_copy(update={"standby": True})
        self.coordinator = self.new_coordinator()

    def tick(self, *, after_s: float = 0.0) -> None:
        """Let time pass, or have the clock set back, then tick once."""
        self.now += timedelta(seconds=after_s)
        self.coordinator.tick()

    def submit(self, owner: str = "local", **config: Any) -> str:
        return add_job(self.store, config, now=self.now, owner=owner)

    def running(self, owner: str = "local", **config: Any) -> str:
        """A job whose run trains."""
        job_id = self.submit(owner, **config)
        self.tick()
        self.trains(job_id)
        return job_id

    def trains(self, job_id: str) -> None:
        """The job's run comes up and trains."""
        self.report(job_id, JobStatus.INITIALIZING, JobStatus.RUNNING)
        self.driver(job_id).has_trained = True

    def job(self, job_id: str) -> JobRecord:
        with self.store.read() as tx:
            return tx.jobs.get(job_id)

    def status(self, job_id: str) -> JobStatus:
        return self.job(job_id).status

    def attempt(self, job_id: str) -> AttemptRecord:
        """The newest one."""
        with self.store.read() as tx:
            return tx.attempts.of_job(job_id)[-1]

    def attempts(self, job_id: str) -> list[AttemptRecord]:
        with self.store.read() as tx:
            return tx.attempts.of_job(job_id)

    def driver(self, job_id: str) -> FakeDriver:
        return self.cluster.running[self.attempt(job_id).driver]

    def beat(self, *job_ids: str) -> None:
        """What a run's log does every second."""
        with self.store.begin() as tx:
            for job_id in job_ids:
                assert tx.attempts.heartbeat(self._ref(job_id), now=self.now) is not None

    def report(self, job_id: str, *statuses: JobStatus) -> None:
        """What the log of the job's run writes."""
        ref = self._ref(job_id)
        with self.store.begin() as tx:
            for status in statuses:
                tx.jobs.move(ref, status, now=self.now)

    def steps(self, job_id: str, step: int, *, eta_s: float | None = None) -> None:
        """The job's run reports a step of ten; without `eta_s` it takes a second for each of the others."""
        left_s = 10.0 - step if eta_s is None else eta_s
        with self.store.begin() as tx:
            ref = self._ref(job_id)
            assert tx.jobs.record_progress(ref, step=step, total_steps=10, epoch=0.1, eta_s=left_s, now=self.now)

    def end_attempt(self, job_id: str, reason: ReasonCode, message: str = "It broke.") -> None:
        """The run driver brings its attempt to an end and closes."""
        with self.store.begin() as tx:
            assert tx.attempts.end(self._ref(job_id), reason=reason, message=message, now=self.now)
        self.cluster.running[self.attempt(job_id).driver].state = "ended"

    def cancel(self, job_id: str) -> None:
        """What the API does for a job that has an attempt."""
        with self.store.begin() as tx:
            tx.jobs.move(self._ref(job_id), JobStatus.CANCELLING, now=self.now)

    def pause(self, job_id: str) -> None:
        """What the API does."""
        job = self.job(job_id)
        with self.store.begin() as tx:
            if job.status is JobStatus.PAUSING:
                tx.jobs.set_stop_kind(job.ref, StopKind.PAUSE)
            else:
                target = JobStatus.PAUSED if job.status is JobStatus.QUEUED else JobStatus.PAUSING
                tx.jobs.move(job.ref, target, now=self.now)

    def resume(self, job_id: str, checkpoint: str | None = None) -> None:
        """What the API does."""
        job = self.job(job_id)
        with self.store.begin() as tx:
            if job.status.is_terminal:
                again = {"message": "It was resumed.", "source": job.status, "resume_from": checkpoint}
                tx.jobs.reopen(job.ref, now=self.now, **again)
            else:
                tx.jobs.move(job.ref, JobStatus.QUEUED, now=self.now, resume_from=checkpoint)

    def append(self, job_id: str, *datasets: str) -> None:
        """What the API does."""
        with self.store.begin() as tx:
            job = tx.jobs.lock(self._ref(job_id))
            tx.job_files.append(job, datasets or ("ds-1",), now=self.now)
            if job.status is JobStatus.COMPLETED:
                tx.jobs.reopen(job.ref, message="It was re-opened.", now=self.now)

    def take_in(self) -> None:
        """What was appended has settled, and runs are stopped for it."""
        self.tick()
        self.tick(after_s=SETTLED_S)

    def stops(self, job_id: str, reason: ReasonCode, saved_step: int | None = None) -> None:
        """The run saves as it was asked to, and ends; the next tick sees it."""
        if saved_step is not None:
            add_checkpoint(self, job_id, saved_step)
        self.end_attempt(job_id, reason, "Stopped as it was asked to.")
        self.tick(after_s=1)

    def told(self, job_id: str) -> list[str]:
        """The statuses in the job's event log."""
        with self.store.read() as tx:
            events = tx.events.after(job_id, 0, kinds=[EventKind.STATUS])
        return [event.data["status"] for event in events]

    def _ref(self, job_id: str) -> JobRef:
        return self.job(job_id).ref


def add_job(
    store: Store,
    config: dict[str, Any],
    *,
    now: datetime = START,
    owner: str = "local",
    job_id: str | None = None,
) -> str:
    """`config` is put over that of an ordinary job."""
    job_id = job_id or new_id("job")
    with store.begin() as tx:
        if not tx.datasets.list(owner="local"):
            tx.datasets.add(make_dataset())
        given = JobConfig.model_validate({"model": "org/name", "dataset": "ds-1"} | config)
        tx.jobs.add(job_id, owner=owner, name="a job", config=given, now=now)
    return job_id


def add_checkpoint(world: World, job_id: str, step: int) -> None:
    ref = world.job(job_id).ref
    record = CheckpointRecord(job_id, step, ref.attempt, f"step-{step:08d}", 100, "f" * 64, world.now)
    with world.store.begin() as tx:
        tx.checkpoints.add(ref, record)


def make_dataset(dataset_id: str = "ds-1") -> DatasetRecord:
    return DatasetRecord(
        id=dataset_id,
        owner="local",
        name="rows.jsonl",
        bucket="training-files",
        format="jsonl",
        shape="messages",
        num_rows=10,
        size_bytes=1000,
        sha256="a" * 64,
        kind="messages",
        canonical=f"canonical/{'a' * 64}-{'b' * 12}.arrow",
        created_at=START,
    )


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the database's write lock."""
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()

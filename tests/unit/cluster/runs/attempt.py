"""One live attempt with its log, and what its worker would send."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cluster.fakes import FakeEventHub
from cluster.runs.attempt_log import AttemptLog
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import (
    CheckpointPayload,
    EventKind,
    LogPayload,
    MetricsPayload,
    NoticePayload,
    ProgressPayload,
)
from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.cluster.coordinator.world import START, add_job
from tracking.store import Store, Transaction
from tracking.store.records import CheckpointRecord, EventRecord, JobRecord, JobRef, ModelRecord
from train.plan import ModelLoaded, RunReport
from train.reporting.event_sender import Emitted


class Attempt:
    """A job with one live attempt, and what its worker would send."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hub = FakeEventHub()
        self._number = 0
        job_id = add_job(store, {})
        self.ref = claim(store, job_id)
        self.log = AttemptLog(store, self.hub, self.ref)

    def emitted(self, payload: RunReport) -> Emitted:
        self._number += 1
        return Emitted(self._number, START, payload)

    def line(self, text: str) -> Emitted:
        return self.emitted(LogPayload(level="info", text=text))

    def metrics(self, step: int, **values: float) -> Emitted:
        return self.emitted(MetricsPayload(**progress(step), values=values))

    def progress(self, step: int) -> Emitted:
        return self.emitted(ProgressPayload(**progress(step)))

    def checkpoint(self, step: int, *, is_best: bool = False, removed: tuple[int, ...] = ()) -> Emitted:
        return self.emitted(
            CheckpointPayload(
                step=step,
                name=f"step-{step:08d}",
                size_bytes=1000,
                manifest_sha256="f" * 64,
                metrics={"eval_loss": 0.5},
                is_best=is_best,
                removed_steps=list(removed),
            )
        )

    def model_loaded(self, num_tokens: int | None = None) -> Emitted:
        return self.emitted(ModelLoaded("main-1", num_tokens))

    def running(self, num_tokens: int | None = None) -> None:
        self.log.move(JobStatus.INITIALIZING)
        self.log.record([self.model_loaded(num_tokens)])

    def written(self) -> None:
        """Wait until everything recorded so far is in the database."""
        done = threading.Event()

        def last(tx: Transaction) -> list[EventRecord]:
            done.set()
            return []

        self.log._queue.put(last)
        assert done.wait(10)

    def job(self) -> JobRecord:
        with self.store.read() as tx:
            return tx.jobs.get(self.ref.id)

    def events(self) -> list[EventRecord]:
        with self.store.read() as tx:
            return tx.events.after(self.ref.id, 0, limit=10_000)

    def lines(self) -> list[str]:
        return [event.data["text"] for event in self.events() if event.kind is EventKind.LOG]

    def checkpoints(self) -> list[CheckpointRecord]:
        with self.store.read() as tx:
            return tx.checkpoints.of_job(self.ref.id)

    def end_by_coordinator(self) -> None:
        with begun(self.store) as tx:
            tx.attempts.end(self.ref, reason=ReasonCode.WORKER_HUNG, message="Silent.", now=START)


@contextlib.contextmanager
def begun(store: Store) -> Iterator[Transaction]:
    """A transaction of the test itself, which waits for that of the log's thread as long as it takes."""
    deadline = time.monotonic() + 10
    with contextlib.ExitStack() as stack:
        while True:
            try:
                tx = stack.enter_context(store.begin())
                break
            except ServiceUnavailableError:
                assert time.monotonic() < deadline
        yield tx


def progress(step: int) -> dict[str, Any]:
    return {"step": step, "total_steps": 10, "epoch": step / 10, "eta_s": 1.0, "step_time_s": 0.1, "data_wait_s": 0.0}


def claim(store: Store, job_id: str) -> JobRef:
    with begun(store) as tx:
        epoch = tx.leases.acquire("coordinator", "test", ttl_s=10, now=START).epoch
        number = tx.jobs.claim(job_id, driver="run-1", cpus=1, gpus=0, epoch=epoch, now=START).number
    return JobRef(job_id, number)


def complete_without_model(store: Store, ref: JobRef) -> None:
    """Run a claimed attempt to its end, as the run of an evaluation or an export does."""
    log = AttemptLog(store, FakeEventHub(), ref)
    log.move(JobStatus.INITIALIZING)
    log.move(JobStatus.RUNNING)
    log.complete_without_model()
    log.close()


def model_of(job: JobRecord) -> ModelRecord:
    return ModelRecord(
        "mdl-1", job.owner, job.id, job.name, "adapter", "org/name", "main-1", 10, Path("model"), None, START
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never happens"
        time.sleep(0.005)


def cancel(attempt: Attempt) -> None:
    with begun(attempt.store) as tx:
        tx.jobs.move(attempt.ref, JobStatus.CANCELLING, now=START)


def pause(attempt: Attempt, kind: StopKind | None) -> None:
    with begun(attempt.store) as tx:
        tx.jobs.move(attempt.ref, JobStatus.PAUSING, now=START, stop_kind=kind)


@contextlib.contextmanager
def paused(attempt: Attempt) -> Iterator[None]:
    """The log's thread is busy; what is recorded meanwhile is written together, afterwards."""
    entered, leave = threading.Event(), threading.Event()
    read = attempt.hub.publish

    def wait(events: Any) -> None:
        read(events)
        entered.set()
        assert leave.wait(10)

    attempt.hub.publish = wait  # type: ignore[method-assign]
    attempt.log.record([attempt.emitted(NoticePayload(code="pause", message=""))])
    assert entered.wait(10)
    attempt.hub.publish = read  # type: ignore[method-assign]
    try:
        yield
    finally:
        leave.set()

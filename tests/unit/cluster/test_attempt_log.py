"""The record of one attempt, against a real store: order, once and only once, fences, outages."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import attempt_log
from cluster.attempt_log import AttemptLog
from cluster.testing import FakeHub
from ftlab.errors import ServiceUnavailableError
from ftlab.life import JobStatus, ReasonCode
from ftlab.schemas import EventKind
from tests.unit.cluster.world import START, add_job, locked
from tracking.store import Store, Transaction
from tracking.store.records import CheckpointRecord, EventRecord, JobRecord, JobRef, ModelRecord
from train.plan import StopKind


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_log, "HEARTBEAT_INTERVAL_S", 0.02)
    monkeypatch.setattr(attempt_log, "LONGEST_BACKOFF_S", 0.05)


class Attempt:
    """A job with one live attempt, and what its worker would send."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hub = FakeHub()
        self._number = 0
        job_id = add_job(store, {"model": "org/name", "dataset": "ds-1"})
        self.ref = claim(store, job_id)
        self.log = AttemptLog(store, self.hub, self.ref)

    def entry(self, kind: str, **data: Any) -> dict[str, Any]:
        self._number += 1
        return {"kind": kind, "data": data, "at": START, "number": self._number}

    def line(self, text: str) -> dict[str, Any]:
        return self.entry("log", level="info", text=text)

    def metrics(self, step: int, **values: float) -> dict[str, Any]:
        return self.entry("metrics", **progress(step), values=values)

    def checkpoint(self, step: int, *, is_best: bool = False, removed: tuple[int, ...] = ()) -> dict[str, Any]:
        return self.entry(
            "checkpoint",
            step=step,
            name=f"step-{step:08d}",
            size_bytes=1000,
            manifest_sha256="f" * 64,
            metrics={"eval_loss": 0.5},
            is_best=is_best,
            removed_steps=list(removed),
        )

    def running(self) -> None:
        self.log.move(JobStatus.INITIALIZING)
        self.log.record([self.entry("status", status="running", base_model="org/name", base_revision="main-1")])

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
        with self.store.begin() as tx:
            tx.attempts.end(self.ref, reason=ReasonCode.WORKER_HUNG, message="Silent.", now=START)


def progress(step: int) -> dict[str, Any]:
    return {"step": step, "total_steps": 10, "epoch": step / 10, "eta_s": 1.0, "step_time_s": 0.1, "data_wait_s": 0.0}


def claim(store: Store, job_id: str) -> JobRef:
    with store.begin() as tx:
        epoch = tx.leases.acquire("coordinator", "test", ttl_s=10, now=START).epoch
        number = tx.jobs.claim(
            job_id, driver="run-1", cpus=1, gpus=0, resumed_from_step=None, epoch=epoch, now=START
        ).number
    return JobRef(job_id, number)


def model_of(job: JobRecord) -> ModelRecord:
    return ModelRecord(
        "mdl-1", job.owner, job.id, job.name, "adapter", "org/name", "main-1", 10, Path("model"), None, START
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never happens"
        time.sleep(0.005)


@pytest.fixture
def attempt(store: Store) -> Iterator[Attempt]:
    started = Attempt(store)
    yield started
    started.log.close()


def test_events_keep_their_order_and_reach_followers_as_they_are_kept(attempt: Attempt):
    attempt.running()
    attempt.log.record([attempt.line("one"), attempt.line("two")])
    attempt.log.record([])
    attempt.log.record([attempt.metrics(1, loss=2.0), attempt.line("three")])
    attempt.log.close()
    kept = [(event.kind.value, event.data.get("status") or event.data.get("text")) for event in attempt.events()]
    assert kept == [
        ("status", "queued"),
        ("status", "pending"),
        ("status", "initializing"),
        ("status", "running"),
        ("log", "one"),
        ("log", "two"),
        ("metrics", None),
        ("log", "three"),
    ]
    assert [event.seq for event in attempt.events()] == list(range(1, 9))
    assert [event["seq"] for event in attempt.hub.events] == list(range(3, 9))


def test_lines_before_the_status_stay_before_it(attempt: Attempt):
    attempt.log.move(JobStatus.INITIALIZING)
    attempt.log.record(
        [
            attempt.line("loading"),
            attempt.entry("status", status="running", base_model="org/name", base_revision="main-1"),
            attempt.line("training"),
        ]
    )
    attempt.log.close()
    assert [event.data.get("text") or event.data["status"] for event in attempt.events()][2:] == [
        "initializing",
        "loading",
        "running",
        "training",
    ]


def test_the_first_step_makes_the_job_run_and_pins_the_base_model(attempt: Attempt):
    attempt.running()
    attempt.log.close()
    job = attempt.job()
    assert (job.status, job.model_revision) == (JobStatus.RUNNING, "main-1")
    assert attempt.log.has_trained


def test_metrics_and_progress_become_rows(attempt: Attempt):
    attempt.running()
    attempt.log.record([attempt.metrics(1, loss=2.0, grad_norm=0.5), attempt.metrics(2, loss=1.5)])
    attempt.log.record([attempt.metrics(2, eval_loss=1.7)])
    attempt.log.record([attempt.entry("progress", **progress(3))])
    attempt.log.close()
    with attempt.store.read() as tx:
        points = [(point.name, point.step, point.value) for point in tx.metrics.series(attempt.ref.id)]
    assert points == [("eval_loss", 2, 1.7), ("grad_norm", 1, 0.5), ("loss", 1, 2.0), ("loss", 2, 1.5)]
    job = attempt.job()
    assert (job.step, job.total_steps, job.epoch, job.eta_s) == (3, 10, 0.3, 1.0)
    assert (job.loss, job.eval_loss) == (1.5, 1.7)


def test_checkpoints_become_rows(attempt: Attempt):
    attempt.running()
    attempt.log.record([attempt.checkpoint(5, is_best=True), attempt.checkpoint(10)])
    attempt.log.record([attempt.checkpoint(15, is_best=True, removed=(10,))])
    attempt.log.close()
    assert [(row.step, row.is_best, row.attempt, row.metrics) for row in attempt.checkpoints()] == [
        (15, True, 1, {"eval_loss": 0.5}),
        (5, False, 1, {"eval_loss": 0.5}),
    ]


def test_processes_are_kept_for_whoever_cleans_up(attempt: Attempt):
    attempt.log.set_processes((11, 12), ("aa",))
    attempt.log.close()
    with attempt.store.read() as tx:
        [record] = tx.attempts.of_job(attempt.ref.id)
    assert (record.pids, record.placement_groups) == ((11, 12), ("aa",))


def test_delivery_changes_everything_at_once(attempt: Attempt):
    attempt.running()
    attempt.log.record([attempt.line("the last word")])
    attempt.log.complete(model_of)
    attempt.log.close()
    with attempt.store.read() as tx:
        job, record = tx.jobs.get(attempt.ref.id), tx.attempts.get(attempt.ref)
        assert tx.models.get("mdl-1").job_id == job.id
    assert (job.status, job.reason, job.model_id) == (JobStatus.COMPLETED, ReasonCode.OK, "mdl-1")
    assert record.reason is ReasonCode.OK
    assert record.ended_at is not None
    assert attempt.hub.events[-1]["data"]["status"] == "completed"
    assert attempt.log.stop is None


def test_delivery_that_cannot_be_written_whole_writes_nothing(attempt: Attempt, monkeypatch: pytest.MonkeyPatch):
    """The database goes away after the attempt was ended and before the job is completed."""
    attempt.running()
    tries: list[None] = []

    def away_once(job: JobRecord) -> ModelRecord:
        tries.append(None)
        if len(tries) == 1:
            with attempt.store.read() as tx:
                assert tx.attempts.get(attempt.ref).ended_at is None
            raise ServiceUnavailableError("away")
        return model_of(job)

    attempt.log.complete(away_once)
    attempt.log.close()
    assert len(tries) == 2
    assert attempt.job().status is JobStatus.COMPLETED


def test_a_user_who_cancels_before_the_delivery_gets_a_cancelled_job(attempt: Attempt):
    attempt.running()
    attempt.written()
    cancel(attempt)
    attempt.log.complete(model_of)
    attempt.log.close()
    with attempt.store.read() as tx:
        assert tx.models.of_job(attempt.ref.id) is None
        assert tx.attempts.get(attempt.ref).reason is ReasonCode.OK
    assert attempt.job().status is JobStatus.CANCELLING


def test_an_attempt_that_failed_is_ended_with_its_reason(attempt: Attempt):
    attempt.running()
    attempt.log.end(ReasonCode.LOSS_DIVERGED, "The loss became nan.")
    attempt.log.close()
    with attempt.store.read() as tx:
        record = tx.attempts.get(attempt.ref)
    assert (record.reason, record.message) == (ReasonCode.LOSS_DIVERGED, "The loss became nan.")
    assert attempt.job().status is JobStatus.RUNNING, "what follows is the coordinator's decision"


def test_a_silent_run_beats_and_hears_of_a_cancel(attempt: Attempt):
    attempt.running()
    attempt.written()
    assert attempt.log.stop is None
    cancel(attempt)
    wait_for(lambda: attempt.log.stop is StopKind.CANCEL)


def test_a_job_that_is_cancelled_while_it_loads_does_not_run_any_more(attempt: Attempt):
    attempt.log.move(JobStatus.INITIALIZING)
    attempt.written()
    cancel(attempt)
    attempt.log.record([attempt.entry("status", status="running", base_model="org/name", base_revision="main-1")])
    attempt.log.record([attempt.line("still here")])
    attempt.log.close()
    assert attempt.job().status is JobStatus.CANCELLING
    assert attempt.lines() == ["still here"]


def test_a_stop_request_is_heard_at_once_and_the_first_one_counts(attempt: Attempt):
    assert not attempt.log.has_trained
    attempt.log.request_stop(StopKind.CANCEL)
    attempt.log.request_stop(StopKind.FENCED)
    assert attempt.log.stop is StopKind.CANCEL


def test_an_attempt_that_was_ended_is_fenced(attempt: Attempt):
    attempt.running()
    attempt.written()
    attempt.end_by_coordinator()
    wait_for(lambda: attempt.log.stop is StopKind.FENCED)
    attempt.log.record([attempt.line("too late"), attempt.metrics(7, loss=9.0)])
    attempt.log.complete(model_of)
    attempt.log.close()
    assert attempt.lines() == []
    assert (attempt.job().status, attempt.job().step) == (JobStatus.RUNNING, 0)


def test_an_attempt_that_was_replaced_is_fenced(attempt: Attempt):
    attempt.running()
    attempt.written()
    attempt.end_by_coordinator()
    with attempt.store.begin() as tx:
        tx.jobs.move(attempt.ref, JobStatus.QUEUED, now=START)
    newer = claim(attempt.store, attempt.ref.id)
    attempt.log.record([attempt.line("too late")])
    attempt.log.close()
    assert attempt.log.stop is StopKind.FENCED
    assert attempt.lines() == []
    with attempt.store.read() as tx:
        assert tx.attempts.get(newer).ended_at is None


@pytest.mark.parametrize("ending", ["complete", "end", "close"])
def test_what_waits_when_the_attempt_is_ended_is_never_written(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, ending: str
):
    """The driver closes its log in the moment in which the coordinator has given the attempt up."""
    monkeypatch.setattr(attempt_log, "HEARTBEAT_INTERVAL_S", 10)
    attempt.running()
    attempt.written()
    with paused(attempt):
        attempt.end_by_coordinator()
        attempt.log.record([attempt.line("too late")])
        if ending == "complete":
            attempt.log.complete(model_of)
        elif ending == "end":
            attempt.log.end(ReasonCode.WORKER_CRASHED, "It crashed.")
        attempt.log._closing.set()
    attempt.log.close()
    assert attempt.lines() == []
    with attempt.store.read() as tx:
        assert tx.attempts.get(attempt.ref).reason is ReasonCode.WORKER_HUNG
    assert attempt.log.stop is StopKind.FENCED


def test_an_outage_loses_nothing_and_doubles_nothing(attempt: Attempt, database: Path):
    attempt.running()
    attempt.written()
    texts = [f"line {number}" for number in range(60)]
    with locked(database):
        for start in range(0, 60, 3):
            attempt.log.record([attempt.line(text) for text in texts[start : start + 3]])
            attempt.log.record([attempt.metrics(start + 1, loss=1.0)])
            time.sleep(0.01)
    attempt.log.close()
    assert attempt.lines() == texts
    assert [event.seq for event in attempt.events()] == list(range(1, 85))
    assert [event["seq"] for event in attempt.hub.events] == list(range(3, 85))
    with attempt.store.read() as tx:
        assert [point.step for point in tx.metrics.series(attempt.ref.id)] == list(range(1, 61, 3))


def test_training_never_waits_for_the_database(attempt: Attempt, database: Path):
    with locked(database):
        started = time.perf_counter()
        for number in range(1000):
            attempt.log.record([attempt.line(f"line {number}")])
        assert time.perf_counter() - started < 0.5


def test_an_answer_that_is_lost_on_its_way_doubles_nothing(attempt: Attempt, monkeypatch: pytest.MonkeyPatch):
    """The database commits, and the connection breaks before it can say so."""
    attempt.running()
    attempt.written()
    begin, breaks = attempt.store.begin, iter([True, True, False, True])

    @contextlib.contextmanager
    def breaking() -> Iterator[Transaction]:
        with begin() as tx:
            yield tx
        if next(breaks, False):
            raise ServiceUnavailableError("The connection is gone.")

    monkeypatch.setattr(attempt.store, "begin", breaking)
    for number in range(5):
        attempt.log.record([attempt.line(f"line {number}")])
        time.sleep(0.01)
    attempt.log.complete(model_of)
    attempt.log.close()
    assert attempt.lines() == [f"line {number}" for number in range(5)]
    assert attempt.job().status is JobStatus.COMPLETED


def test_a_delivery_whose_answer_is_lost_is_not_repeated(attempt: Attempt, monkeypatch: pytest.MonkeyPatch):
    attempt.running()
    attempt.written()
    begin, breaks = attempt.store.begin, iter([True])
    with paused(attempt):
        attempt.log.complete(model_of)

        @contextlib.contextmanager
        def breaking() -> Iterator[Transaction]:
            with begin() as tx:
                yield tx
            if attempt.job().status is JobStatus.COMPLETED and next(breaks, False):
                raise ServiceUnavailableError("The connection is gone.")

        monkeypatch.setattr(attempt.store, "begin", breaking)
    attempt.log.close()
    assert attempt.job().status is JobStatus.COMPLETED
    statuses = [event.data["status"] for event in attempt.events() if event.kind is EventKind.STATUS]
    assert statuses == ["queued", "pending", "initializing", "running", "completed"]


def test_a_batch_that_is_sent_twice_counts_once(attempt: Attempt):
    """A worker that gets no answer in time sends its batch again, with what came since."""
    attempt.running()
    first = [attempt.line("one"), attempt.line("two")]
    attempt.log.record(first)
    attempt.log.record([*first, attempt.line("three")])
    attempt.log.record(first)
    attempt.log.close()
    assert attempt.lines() == ["one", "two", "three"]


def test_closing_waits_for_what_is_left(attempt: Attempt, database: Path):
    attempt.running()
    attempt.written()
    closing = threading.Thread(target=attempt.log.close)
    with locked(database):
        for number in range(100):
            attempt.log.record([attempt.line(f"line {number}")])
        attempt.log.end(ReasonCode.WORKER_CRASHED, "It crashed.")
        closing.start()
        time.sleep(0.1)
        assert closing.is_alive()
    closing.join(10)
    assert len(attempt.lines()) == 100
    with attempt.store.read() as tx:
        assert tx.attempts.get(attempt.ref).reason is ReasonCode.WORKER_CRASHED


def cancel(attempt: Attempt) -> None:
    with attempt.store.begin() as tx:
        tx.jobs.move(attempt.ref, JobStatus.CANCELLING, now=START)


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
    attempt.log.record([attempt.entry("notice", code="pause", message="")])
    assert entered.wait(10)
    attempt.hub.publish = read  # type: ignore[method-assign]
    try:
        yield
    finally:
        leave.set()

"""The record of an attempt while the database is away: nothing lost, nothing doubled, nobody waits."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import EventKind
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.world import locked
from tests.unit.cluster.runs.attempt import Attempt, model_of, paused
from tracking.store import Transaction
from tracking.store.records import JobRecord, ModelRecord
from train.plan import Failure


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
        assert time.perf_counter() - started < 5


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
    attempt.log.complete(model_of, 1)
    attempt.log.close()
    assert attempt.lines() == [f"line {number}" for number in range(5)]
    assert attempt.job().status is JobStatus.COMPLETED


def test_a_delivery_whose_answer_is_lost_is_not_repeated(attempt: Attempt, monkeypatch: pytest.MonkeyPatch):
    attempt.running()
    attempt.written()
    begin, breaks = attempt.store.begin, iter([True])
    with paused(attempt):
        attempt.log.complete(model_of, 1)

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
        attempt.log.end(Failure(ReasonCode.WORKER_CRASHED, "It crashed."))
        closing.start()
        time.sleep(0.1)
        assert closing.is_alive()
    closing.join(10)
    assert len(attempt.lines()) == 100
    with attempt.store.read() as tx:
        assert tx.attempts.get(attempt.ref).reason is ReasonCode.WORKER_CRASHED


def test_delivery_that_cannot_be_written_whole_writes_nothing(attempt: Attempt):
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

    attempt.log.complete(away_once, 1)
    attempt.log.close()
    assert len(tries) == 2
    assert attempt.job().status is JobStatus.COMPLETED

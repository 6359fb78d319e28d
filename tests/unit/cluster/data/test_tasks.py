"""Work that is asked for again and again is done once."""

import threading
from pathlib import Path
from typing import Any

import pytest

from cluster.data.requests import WorkState, WorkStatus
from cluster.data.tasks import ENDED_KEPT_S, OnProgress, TaskTable
from ftlab.errors import InvalidRequestError, ServiceUnavailableError
from ftlab.status import ReasonCode
from tests.support.clocks import Clock


class Table:
    """A table with one thread, work that waits to be let go on, and a count of the ends."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock(0.0)
        self.ended = threading.Semaphore(0)
        self.table = TaskTable(1, folder, on_end=self.ended.release, clock=self.clock)
        self.go_on, self.reached = threading.Event(), threading.Event()
        self.num_calls = 0

    def work(self, on_progress: OnProgress) -> dict[str, Any]:
        self.num_calls += 1
        on_progress(3, 10)
        self.reached.set()
        assert self.go_on.wait(10)
        return {"answer": 42}

    def fails(self, on_progress: OnProgress) -> dict[str, Any]:
        raise InvalidRequestError("Row 3 is bad.", "dataset_invalid")

    def wait_for_end(self) -> None:
        assert self.ended.acquire(timeout=10)


@pytest.fixture
def table(tmp_path: Path) -> Any:
    opened = Table(tmp_path)
    yield opened
    opened.go_on.set()
    opened.table.close()


def test_the_work_is_done_once_and_tells_how_far_it_is(table: Table):
    assert table.table.ask("a", table.work).status is WorkStatus.WORKING
    assert table.reached.wait(10)
    state = table.table.ask("a", table.work)
    assert (state.status, state.done_rows, state.total_rows, state.percent) == (WorkStatus.WORKING, 3, 10, 30)
    table.go_on.set()
    table.wait_for_end()
    state = table.table.ask("a", table.work)
    assert (state.status, state.result) == (WorkStatus.DONE, {"answer": 42})
    assert table.num_calls == 1


def test_other_work_waits_for_a_thread(table: Table):
    table.table.ask("a", table.work)
    assert table.reached.wait(10)
    assert table.table.ask("b", table.fails) == WorkState(WorkStatus.WORKING)
    table.go_on.set()
    table.wait_for_end()
    table.wait_for_end()
    assert table.table.ask("b", table.fails).status is WorkStatus.FAILED


def test_an_error_becomes_a_reason_and_a_sentence(table: Table):
    table.table.ask("a", table.fails)
    table.wait_for_end()
    state = table.table.ask("a", table.fails)
    assert (state.status, state.reason, state.message) == (
        WorkStatus.FAILED,
        ReasonCode.DATASET_INVALID,
        "Row 3 is bad.",
    )


def test_what_is_away_for_the_moment_is_no_reason(table: Table):
    def away(on_progress: OnProgress) -> dict[str, Any]:
        raise ServiceUnavailableError("The bucket does not answer.", "bucket_unavailable")

    table.table.ask("a", away)
    table.wait_for_end()
    state = table.table.ask("a", away)
    assert (state.status, state.reason, state.message) == (WorkStatus.FAILED, None, "The bucket does not answer.")


def test_an_end_is_told_for_a_while_and_then_forgotten(table: Table):
    table.table.ask("a", table.fails)
    table.wait_for_end()
    table.clock.now = ENDED_KEPT_S
    assert table.table.ask("a", table.fails).status is WorkStatus.FAILED
    table.clock.now += 0.1
    assert table.table.ask("a", table.work).status is WorkStatus.WORKING


def test_an_end_that_somebody_has_heard_may_be_forgotten_sooner(table: Table, tmp_path: Path):
    checks = TaskTable(1, tmp_path, reported_kept_s=3.0, on_end=table.ended.release, clock=table.clock)
    checks.ask("a", table.fails)
    table.wait_for_end()
    table.clock.now = 20.0
    for after_s in (0, 3):
        table.clock.now += after_s
        assert checks.ask("a", table.fails).status is WorkStatus.FAILED
    table.clock.now += 0.1
    assert checks.ask("a", table.fails).status is WorkStatus.WORKING
    checks.close()


def test_the_percentage_is_unknown_without_a_total():
    assert WorkState(WorkStatus.WORKING, 5).percent is None
    assert WorkState(WorkStatus.WORKING, 12, 10).percent == 100

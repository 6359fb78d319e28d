"""Which points of a resumed attempt are new."""

import itertools

from ftlab.schemas import EventKind
from tests.unit.tracking.mlflow_record.conftest import Bench
from tracking.mlflow_record.mapping import Point
from tracking.mlflow_record.recorder import new_points
from tracking.store.records import MlflowCursor


def _pages(bench: Bench, job_id: str, limit: int = 500) -> list[list[Point]]:
    """The new points of each page, from the first event on."""
    pages, cursor = [], MlflowCursor()
    with bench.store.read() as tx:
        while events := tx.events.after(job_id, cursor.seq, limit=limit):
            points, behind = new_points(events, cursor)
            cursor = MlflowCursor(events[-1].seq, behind.step, behind.eval_step)
            pages.append(points)
    return pages


def _steps(points: list[Point], key: str) -> list[int]:
    return [point.step for point in points if point.key == key]


def test_repeated_steps_are_left_out(bench: Bench) -> None:
    job_id = bench.add_job("greeter")
    first = bench.start_attempt(job_id)
    bench.log_steps(first, range(1, 9))
    bench.requeue(first)
    second = bench.start_attempt(job_id, resumed_from_step=5)
    bench.log_steps(second, range(6, 11))
    bench.requeue(second)
    bench.log_steps(bench.start_attempt(job_id, resumed_from_step=5), range(6, 13))
    (points,) = _pages(bench, job_id)
    assert _steps(points, "loss") == _steps(points, "epoch") == list(range(1, 13))


def test_the_answer_does_not_depend_on_the_pages(bench: Bench) -> None:
    job_id = bench.add_job("greeter")
    first = bench.start_attempt(job_id)
    bench.log_steps(first, range(1, 9))
    bench.requeue(first)
    bench.log_steps(bench.start_attempt(job_id), range(1, 11))
    (whole,) = _pages(bench, job_id)
    for limit in (1, 3, 7):
        assert list(itertools.chain.from_iterable(_pages(bench, job_id, limit))) == whole


def test_an_evaluation_that_only_the_later_attempt_made_is_new(bench: Bench) -> None:
    job_id = bench.add_job("greeter")
    first = bench.start_attempt(job_id)
    bench.log_steps(first, range(1, 4))
    bench.requeue(first)
    second = bench.start_attempt(job_id)
    bench.emit(second, EventKind.METRICS, {"step": 3, "epoch": 0.3, "values": {"loss": 1.0, "eval_loss": 2.0}})
    (points,) = _pages(bench, job_id)
    assert _steps(points, "eval_loss") == [3]
    assert _steps(points, "loss") == _steps(points, "epoch") == [1, 2, 3]


def test_evaluations_have_a_cursor_of_their_own(bench: Bench) -> None:
    """One before the first step, as a run with an eval dataset makes it, and one that a resume repeats."""
    job_id = bench.add_job("greeter")
    first = bench.start_attempt(job_id)
    evaluations = [{"step": step, "epoch": step / 10, "values": {"eval_loss": 2.0 - step / 10}} for step in (0, 4)]
    bench.emit(first, EventKind.METRICS, evaluations[0])
    bench.log_steps(first, range(1, 5))
    bench.emit(first, EventKind.METRICS, evaluations[1])
    bench.log_steps(first, range(5, 7))
    bench.requeue(first)
    second = bench.start_attempt(job_id, resumed_from_step=3)
    bench.log_steps(second, range(4, 5))
    bench.emit(second, EventKind.METRICS, evaluations[1])
    bench.log_steps(second, range(5, 9))
    (points,) = _pages(bench, job_id)
    assert _steps(points, "eval_loss") == [0, 4]
    assert _steps(points, "loss") == list(range(1, 9))
    assert _steps(points, "epoch") == list(range(9))

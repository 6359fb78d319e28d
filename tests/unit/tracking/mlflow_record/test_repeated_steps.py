"""Which points of a resumed attempt are new."""

import itertools

from ftlab.schemas import EventKind
from tests.unit.tracking.mlflow_record.conftest import Jobs
from tracking.mlflow_record.mapping import Point
from tracking.mlflow_record.recorder import new_points
from tracking.store.records import MlflowCursor


def _pages(jobs: Jobs, job_id: str, limit: int = 500) -> list[list[Point]]:
    """The new points of each page, from the first event on."""
    pages, cursor = [], MlflowCursor()
    with jobs.store.read() as tx:
        while events := tx.events.after(job_id, cursor.seq, limit=limit):
            points, behind = new_points(events, cursor)
            cursor = MlflowCursor(events[-1].seq, behind.step, behind.eval_step)
            pages.append(points)
    return pages


def _steps(points: list[Point], key: str) -> list[int]:
    return [point.step for point in points if point.key == key]


def test_repeated_steps_are_left_out(jobs: Jobs) -> None:
    job_id = jobs.add_job("greeter")
    first = jobs.start_attempt(job_id)
    jobs.log_steps(first, range(1, 9))
    jobs.requeue(first)
    second = jobs.start_attempt(job_id, resumed_from_step=5)
    jobs.log_steps(second, range(6, 11))
    jobs.requeue(second)
    jobs.log_steps(jobs.start_attempt(job_id, resumed_from_step=5), range(6, 13))
    (points,) = _pages(jobs, job_id)
    assert _steps(points, "train/loss") == _steps(points, "train/epoch") == list(range(1, 13))


def test_the_answer_does_not_depend_on_the_pages(jobs: Jobs) -> None:
    job_id = jobs.add_job("greeter")
    first = jobs.start_attempt(job_id)
    jobs.log_steps(first, range(1, 9))
    jobs.requeue(first)
    jobs.log_steps(jobs.start_attempt(job_id), range(1, 11))
    (whole,) = _pages(jobs, job_id)
    for limit in (1, 3, 7):
        assert list(itertools.chain.from_iterable(_pages(jobs, job_id, limit))) == whole


def test_an_evaluation_that_only_the_later_attempt_made_is_new(jobs: Jobs) -> None:
    job_id = jobs.add_job("greeter")
    first = jobs.start_attempt(job_id)
    jobs.log_steps(first, range(1, 4))
    jobs.requeue(first)
    second = jobs.start_attempt(job_id)
    jobs.emit(second, EventKind.METRICS, {"step": 3, "epoch": 0.3, "values": {"loss": 1.0, "eval_loss": 2.0}})
    (points,) = _pages(jobs, job_id)
    assert _steps(points, "eval/loss") == [3]
    assert _steps(points, "train/loss") == _steps(points, "train/epoch") == [1, 2, 3]


def test_evaluations_have_a_cursor_of_their_own(jobs: Jobs) -> None:
    """One before the first step, as a run with an eval dataset makes it, and one that a resume repeats."""
    job_id = jobs.add_job("greeter")
    first = jobs.start_attempt(job_id)
    evaluations = [{"step": step, "epoch": step / 10, "values": {"eval_loss": 2.0 - step / 10}} for step in (0, 4)]
    jobs.emit(first, EventKind.METRICS, evaluations[0])
    jobs.log_steps(first, range(1, 5))
    jobs.emit(first, EventKind.METRICS, evaluations[1])
    jobs.log_steps(first, range(5, 7))
    jobs.requeue(first)
    second = jobs.start_attempt(job_id, resumed_from_step=3)
    jobs.log_steps(second, range(4, 5))
    jobs.emit(second, EventKind.METRICS, evaluations[1])
    jobs.log_steps(second, range(5, 9))
    (points,) = _pages(jobs, job_id)
    assert _steps(points, "eval/loss") == [0, 4]
    assert _steps(points, "train/loss") == list(range(1, 9))
    assert _steps(points, "train/epoch") == list(range(9))


def test_the_loss_of_the_delivered_model_is_new_although_training_passed_its_step(jobs: Jobs) -> None:
    job_id = jobs.add_job("greeter")
    attempt = jobs.start_attempt(job_id)
    jobs.log_steps(attempt, range(1, 9))
    jobs.emit(attempt, EventKind.METRICS, {"step": 8, "epoch": 0.8, "values": {"eval_loss": 2.0}})
    jobs.emit(attempt, EventKind.METRICS, {"step": 4, "epoch": 0.8, "values": {"final_eval_loss": 1.5}})
    (points,) = _pages(jobs, job_id)
    assert [(point.step, point.value) for point in points if point.key == "eval/final_eval_loss"] == [(4, 1.5)]
    assert _steps(points, "train/epoch") == list(range(1, 9))

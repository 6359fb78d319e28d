"""Which points of a resumed attempt are new."""

import itertools

from ftlab.schemas import EventKind
from tests.unit.tracking.mlflow_record.conftest import Bench
from tracking.mlflow_record.overlap import Overlap


def _new_steps(bench: Bench, job_id: str, overlap: Overlap, after: int = 0, limit: int = 500) -> list[int]:
    with bench.store.read() as tx:
        events = tx.events.after(job_id, after, limit=limit)
        return [point.step for point in overlap.new_points(tx, job_id, events) if point.key == "loss"]


def test_repeated_steps_are_left_out(bench: Bench) -> None:
    job_id = bench.add_job("greeter")
    first = bench.start_attempt(job_id)
    bench.log_steps(first, range(1, 9))
    bench.requeue(first)
    second = bench.start_attempt(job_id, resumed_from_step=5)
    bench.log_steps(second, range(6, 11))
    bench.requeue(second)
    bench.log_steps(bench.start_attempt(job_id, resumed_from_step=5), range(6, 13))
    assert _new_steps(bench, job_id, Overlap()) == list(range(1, 13))


def test_the_answer_is_the_same_in_pages_and_after_a_restart(bench: Bench) -> None:
    job_id = bench.add_job("greeter")
    first = bench.start_attempt(job_id)
    bench.log_steps(first, range(1, 9))
    bench.requeue(first)
    bench.log_steps(bench.start_attempt(job_id), range(1, 11))
    with bench.store.read() as tx:
        last_seq = tx.jobs.get(job_id).last_seq
    overlap = Overlap()
    kept = [_new_steps(bench, job_id, overlap, seq, limit=1) for seq in range(last_seq)]
    fresh = [_new_steps(bench, job_id, Overlap(), seq, limit=1) for seq in range(last_seq)]
    assert kept == fresh
    assert list(itertools.chain.from_iterable(kept)) == list(range(1, 11))


def test_a_metric_that_only_the_later_attempt_measured_is_new(bench: Bench) -> None:
    job_id = bench.add_job("greeter")
    first = bench.start_attempt(job_id)
    bench.log_steps(first, range(1, 4))
    bench.requeue(first)
    second = bench.start_attempt(job_id)
    bench.emit(second, EventKind.METRICS, {"step": 3, "epoch": 0.3, "values": {"loss": 1.0, "eval_loss": 2.0}})
    with bench.store.read() as tx:
        points = Overlap().new_points(tx, job_id, tx.events.after(job_id, 0))
    assert [point.step for point in points if point.key == "eval_loss"] == [3]
    assert [point.step for point in points if point.key == "epoch"] == [1, 2, 3]


def test_forgetting_a_job_changes_no_answer(bench: Bench) -> None:
    job_id = bench.add_job("greeter")
    first = bench.start_attempt(job_id)
    bench.log_steps(first, range(1, 4))
    bench.requeue(first)
    bench.log_steps(bench.start_attempt(job_id), range(1, 5))
    overlap = Overlap()
    before = _new_steps(bench, job_id, overlap)
    overlap.forget(job_id)
    assert _new_steps(bench, job_id, overlap) == before == [1, 2, 3, 4]

"""Metric points: one for each name and step, thinned out for charts."""

from itertools import pairwise

import pytest

from tests.unit.tracking.samples import add_job, point, retry, start
from tracking.store import Store
from tracking.store.records import JobRef, MetricRecord


@pytest.fixture
def ref(store: Store) -> JobRef:
    return start(store, add_job(store).id)


def add(store: Store, *points: MetricRecord) -> None:
    with store.begin() as tx:
        tx.metrics.add(points)


def series(store: Store, ref: JobRef, **options: object) -> list[MetricRecord]:
    with store.read() as tx:
        return tx.metrics.series(ref.id, **options)  # type: ignore[arg-type]


def test_ordered_by_name_and_step(store: Store, ref: JobRef) -> None:
    points = [point(ref.id, step, name=name) for name in ("loss", "eval_loss") for step in (10, 2, 1)]
    add(store, *points)
    assert series(store, ref) == sorted(points, key=lambda item: (item.name, item.step))
    assert [item.step for item in series(store, ref, names=["loss"])] == [1, 2, 10]
    assert series(store, ref, names=[]) == []
    add(store)


def test_later_attempt_wins_and_a_stale_one_does_not(store: Store, ref: JobRef) -> None:
    add(store, point(ref.id, 1, 1.0), point(ref.id, 2, 2.0))
    newest = retry(store, ref)
    add(store, point(ref.id, 2, 20.0, attempt=newest.attempt))
    add(store, point(ref.id, 2, 999.0), point(ref.id, 3, 999.0))
    found = [(item.step, item.value, item.attempt) for item in series(store, ref)]
    assert found == [(1, 1.0, 1), (2, 20.0, 2)]


def test_same_attempt_corrects_itself(store: Store, ref: JobRef) -> None:
    add(store, point(ref.id, 1, 1.0), point(ref.id, 1, 2.0))
    add(store, point(ref.id, 1, 3.0))
    assert [item.value for item in series(store, ref)] == [3.0]


def test_values_that_no_chart_can_show_are_left_out(store: Store, ref: JobRef) -> None:
    add(store, *(point(ref.id, step, value) for step, value in enumerate([1.0, float("nan"), float("inf")])))
    assert [item.step for item in series(store, ref)] == [0]


def test_unknown_job_gets_no_points(store: Store) -> None:
    add(store, point("job-none", 1))
    assert series(store, JobRef("job-none", 1)) == []


@pytest.mark.parametrize("max_points", [2, 3, 7, 50, 51, 99, 100, 101, 2000])
def test_thinned_series_is_bounded_and_keeps_its_ends(store: Store, ref: JobRef, max_points: int) -> None:
    add(store, *(point(ref.id, step * 5, name="loss") for step in range(100)), point(ref.id, 7, name="acc"))
    found = series(store, ref, max_points=max_points)
    steps = [item.step for item in found if item.name == "loss"]
    assert len(steps) == min(max_points, 100)
    assert (steps[0], steps[-1]) == (0, 99 * 5)
    assert [item.step for item in found if item.name == "acc"] == [7]
    gaps = [after - before for before, after in pairwise(steps)]
    assert max(gaps) - min(gaps) <= 5


def test_last_points(store: Store, ref: JobRef) -> None:
    add(store, *(point(ref.id, step, name=name) for step in (1, 2, 3) for name in ("a", "b")))
    with store.read() as tx:
        last = tx.metrics.last(ref.id, 3)
        names = tx.metrics.names(ref.id)
    assert [(item.step, item.name) for item in last] == [(2, "b"), (3, "a"), (3, "b")]
    assert sorted(names) == ["a", "b"]


def test_points_of_higher_steps_are_forgotten(store: Store, ref: JobRef) -> None:
    other = start(store, add_job(store).id)
    add(store, *(point(ref.id, step, name=name) for step in (39, 40, 41, 90) for name in ("loss", "eval_loss")))
    add(store, point(other.id, 90))
    with store.begin() as tx:
        tx.metrics.forget_after(ref.id, 40)
    assert [(item.name, item.step) for item in series(store, ref)] == [
        ("eval_loss", 39),
        ("eval_loss", 40),
        ("loss", 39),
        ("loss", 40),
    ]
    assert [item.step for item in series(store, other)] == [90]
    newest = retry(store, ref)
    add(store, point(ref.id, 41, 7.0, attempt=newest.attempt))
    assert series(store, ref, names=["loss"])[-1].value == 7.0

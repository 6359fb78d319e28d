"""Series: smoothing, thinning, axes, and points that arrive live."""

from datetime import timedelta

import pytest

from ftlab.schemas import MetricPoint
from ftlab.thinning import thinned
from ftlab.tui import series as module
from ftlab.tui.series import XAxis, extended, finite, restarts, series_by_name, smoothed, x_values
from tests.unit.ftlab.tui.sample_jobs import NOW, series_of


def test_smoothing_has_no_bias_towards_zero():
    assert smoothed([4, 3, 2, 1], 0.6) == pytest.approx([4, 3.375, 2.6735, 1.9044], abs=5e-5)


def test_no_smoothing_and_constants():
    assert smoothed([4, 3, 2, 1], 0.0) == [4, 3, 2, 1]
    assert smoothed([2.5] * 50, 0.99) == pytest.approx([2.5] * 50)


def test_thinning_keeps_the_extremes():
    ys = [0.0] * 1000
    ys[500], ys[700] = 9.0, -9.0
    xs, few = thinned(list(range(1000)), ys, 100)
    assert len(few) <= 100
    assert {9.0, -9.0} <= set(few)
    assert xs == sorted(xs)


def test_few_points_stay_as_they_are():
    assert thinned([1, 2, 3], [4, 5, 6], 10) == ([1, 2, 3], [4, 5, 6])


def test_epochs_are_attached_to_the_points_of_their_step():
    points = [
        MetricPoint(name=name, step=step, value=value, at=NOW, attempt=1)
        for name, step, value in (("loss", 1, 4.0), ("loss", 2, 3.0), ("epoch", 1, 0.5), ("epoch", 2, 1.0))
    ]
    found = series_by_name(points)
    assert set(found) == {"loss"}
    assert x_values(found["loss"], XAxis.EPOCH) == [0.5, 1.0]
    assert x_values(found["loss"], XAxis.STEP) == [1, 2]


def test_time_is_counted_from_the_first_point():
    series = series_of([1, 2, 3])
    assert x_values(series, XAxis.TIME) == [0, 4, 8]


def test_unknown_epochs_are_reported():
    points = [MetricPoint(name="loss", step=1, value=4.0, at=NOW, attempt=1)]
    assert x_values(series_by_name(points)["loss"], XAxis.EPOCH) is None


def test_a_new_attempt_replaces_the_steps_that_are_repeated():
    series = series_of([4, 3, 2, 1])
    point = module.Point(3, 2.5, NOW, attempt=2)
    assert [(item.step, item.value) for item in extended(series, point)] == [(1, 4), (2, 3), (3, 2.5)]
    assert restarts(extended(series, point)) == [2]


def test_a_long_series_loses_every_second_point_of_its_older_half(monkeypatch):
    monkeypatch.setattr(module, "MAX_POINTS", 8)
    series = series_of(range(8))
    longer = extended(series, module.Point(9, 9.0, NOW + timedelta(1)))
    assert [item.step for item in longer] == [1, 3, 5, 6, 7, 8, 9]


def test_values_that_are_not_finite_are_not_drawn():
    assert [item.value for item in finite(series_of([1.0, float("nan"), float("inf"), 2.0]))] == [1.0, 2.0]

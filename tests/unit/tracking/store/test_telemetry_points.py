"""Points of telemetry: stored and read back, and made fewer without losing a peak."""

import pytest

from tracking.store.telemetry_points import Columns, Points, from_readings, join, pack, unpack, widen


def test_points_are_stored_by_columns() -> None:
    points = from_readings([(100.25, {"a": 1.0, "b": None}), (101.25, {"a": None, "b": None, "c": 17179869184.0})])
    assert points == Points(
        [100.25, 101.25], {"a": Columns.of_moments([1.0, None]), "c": Columns.of_moments([None, 17179869184.0])}
    )
    read = unpack(pack(points))
    assert read.times == points.times
    assert read.series["a"] == points.series["a"]
    assert read.series["c"].mean[1] == pytest.approx(17179869184, rel=1e-4)
    assert read.series["a"].is_of_moments


def test_a_peak_survives() -> None:
    seconds = from_readings(
        [(60.0 + second, {"power_watts": 700.0 if second == 33 else 100.0}) for second in range(60)]
    )
    tens = unpack(pack(widen(seconds, 10)))
    assert tens.times == [60, 70, 80, 90, 100, 110]
    assert tens.series["power_watts"].max == [100, 100, 100, 700, 100, 100]
    assert tens.series["power_watts"].mean == [100, 100, 100, 160, 100, 100]
    minute = widen(tens, 60)
    assert minute.times == [60]
    assert minute.series["power_watts"] == Columns([100], [110], [700])


def test_an_interval_without_values_has_none() -> None:
    points = from_readings([(0.0, {"a": 1.0}), (1.0, {"b": 2.0}), (2.0, {"b": 4.0})])
    wide = widen(points, 2)
    assert wide.series["a"] == Columns([1, None], [1, None], [1, None])
    assert wide.series["b"] == Columns([2, 4], [2, 4], [2, 4])


def test_parts_are_joined() -> None:
    first, second = from_readings([(0.0, {"a": 1.0})]), widen(from_readings([(2.0, {"b": 1.0}), (3.0, {"b": 3.0})]), 2)
    joined = join([first, second])
    assert joined.times == [0, 2]
    assert joined.series["a"].mean == [1, None]
    assert joined.series["b"] == Columns([None, 1], [None, 2], [None, 3])
    assert join([]) == Points()

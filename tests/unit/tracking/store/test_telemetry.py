"""Telemetry in the database: by job and device, fewer points with age, gone with the job."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from tests.unit.tracking.samples import add_job, start
from tracking.store import Store
from tracking.store.records import JobRef
from tracking.store.telemetry import ATTEMPT, NODE_HISTORY, SeriesKey, StoredSeries
from tracking.store.telemetry_points import Points, from_readings
from tracking.store.telemetry_rows import telemetry

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOST = SeriesKey("alpha", "host")


@pytest.fixture
def ref(store: Store) -> JobRef:
    return start(store, add_job(store).id)


def batch(at: datetime, count: int = 10, value: float = 50.0) -> Points:
    """One point a second; the third is a peak."""
    begin = at.timestamp() + 0.25
    return from_readings([(begin + second, {"load": 99.0 if second == 2 else value}) for second in range(count)])


def add(store: Store, key: SeriesKey, *batches: Points) -> None:
    with store.begin() as tx:
        for points in batches:
            tx.telemetry.add(key, points)


def of_job(store: Store, job_id: str, **limits: datetime) -> list[StoredSeries]:
    with store.read() as tx:
        return tx.telemetry.of_job(job_id, **limits)


def thin(store: Store, now: datetime) -> None:
    has_more = True
    while has_more:
        with store.begin() as tx:
            has_more = tx.telemetry.thin_next(now)


def intervals(store: Store) -> list[tuple[int, int]]:
    """How many rows there are of each interval."""
    with store.read() as tx:
        column = telemetry.c.interval_s
        rows = tx.telemetry._connection.execute(select(column, func.count()).group_by(column).order_by(column))
        return [(interval, count) for interval, count in rows]


def test_series_of_a_job(store: Store, ref: JobRef) -> None:
    processes, gpu = (SeriesKey("alpha", device, ref.id, 1) for device in ("processes", "gpu-0"))
    later = SeriesKey("alpha", "gpu-0", ref.id, 2)
    add(store, processes, batch(NOON), batch(NOON + timedelta(seconds=10)), Points())
    add(store, gpu, batch(NOON))
    add(store, later, batch(NOON + timedelta(minutes=5)))
    add(store, HOST, batch(NOON))
    on_gpu, on_cpu = of_job(store, ref.id)
    assert [(series.node, series.device) for series in (on_gpu, on_cpu)] == [("alpha", "gpu-0"), ("alpha", "processes")]
    assert on_gpu.points.series[ATTEMPT].mean == [1] * 10 + [2] * 10
    assert on_cpu.points.times == [NOON.timestamp() + 0.25 + second for second in range(20)]
    (after, _) = of_job(store, ref.id, after=NOON + timedelta(seconds=15))
    assert len(after.points.times) == 10
    (until, _) = of_job(store, ref.id, until=NOON + timedelta(seconds=4))
    assert (len(until.points.times), until.points.series["load"].max) == (4, [50, 50, 99, 50])


def test_a_batch_is_added_once(store: Store, ref: JobRef) -> None:
    key = SeriesKey("alpha", "processes", ref.id, 1)
    add(store, key, batch(NOON), batch(NOON))
    assert intervals(store) == [(1, 1)]
    add(store, SeriesKey("alpha", "processes", "job-deleted", 1), batch(NOON))
    assert of_job(store, "job-deleted") == []


def test_old_points_become_fewer_and_keep_their_peaks(store: Store, ref: JobRef) -> None:
    key = SeriesKey("alpha", "gpu-0", ref.id, 1)
    add(store, key, *(batch(NOON + timedelta(seconds=10 * number)) for number in range(12)))
    add(store, key, batch(NOON + timedelta(hours=3)))
    thin(store, NOON + timedelta(hours=1, minutes=59))
    assert intervals(store) == [(1, 13)]
    thin(store, NOON + timedelta(hours=2))
    assert intervals(store) == [(1, 1), (10, 1)]
    (series,) = of_job(store, ref.id, until=NOON + timedelta(hours=1))
    assert series.points.times == [NOON.timestamp() + 10 * number for number in range(12)]
    assert (series.points.series["load"].max, series.points.series["load"].min) == ([99] * 12, [50] * 12)
    thin(store, NOON + timedelta(days=3))
    assert intervals(store) == [(60, 1)]
    (series,) = of_job(store, ref.id, until=NOON + timedelta(hours=1))
    assert series.points.times == [NOON.timestamp(), NOON.timestamp() + 60]
    assert series.points.series["load"].mean == pytest.approx([54.9, 54.9])


def test_points_that_were_written_late_join_the_others(store: Store, ref: JobRef) -> None:
    key = SeriesKey("alpha", "gpu-0", ref.id, 1)
    add(store, key, batch(NOON, count=5))
    thin(store, NOON + timedelta(hours=2))
    add(store, key, batch(NOON + timedelta(seconds=5), count=5, value=10.0))
    thin(store, NOON + timedelta(hours=2))
    assert intervals(store) == [(10, 1)]
    (series,) = of_job(store, ref.id)
    assert (series.points.times, series.points.series["load"].min) == ([NOON.timestamp()], [10])


def test_machines_are_forgotten_and_jobs_are_not(store: Store, ref: JobRef) -> None:
    add(store, HOST, batch(NOON))
    add(store, SeriesKey("alpha", "processes", ref.id, 1), batch(NOON))
    with store.begin() as tx:
        tx.telemetry.forget_old_nodes(NOON + NODE_HISTORY)
    assert intervals(store) == [(1, 2)]
    with store.begin() as tx:
        tx.telemetry.forget_old_nodes(NOON + NODE_HISTORY + timedelta(minutes=1))
    assert intervals(store) == [(1, 1)]
    assert len(of_job(store, ref.id)) == 1

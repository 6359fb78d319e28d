"""What the devices and processes of a job, and machines, did over time. Every function blocks on the store."""

from collections.abc import Collection
from datetime import UTC, datetime

from ftlab.errors import NotFoundError
from ftlab.schemas.telemetry import DeviceSeries, JobTelemetry, NodeHistory, NodeSeries, Spread
from serve.context import Services
from tracking.store.telemetry import ATTEMPT, StoredSeries
from tracking.store.telemetry_points import Points, widen

INTERVALS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 86_400)


def read_telemetry(
    services: Services,
    owner: str,
    job: str,
    *,
    names: Collection[str],
    after: datetime | None,
    until: datetime | None,
    max_points: int,
) -> JobTelemetry:
    """At most `max_points` points for each device, each with the least, mean and greatest value of its interval.

    Without `names`, all series. Raises `NotFoundError`.
    """
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        stored = tx.telemetry.of_job(record.id, after=after, until=until)
    found = [series for series in stored if series.points.times]
    interval_s = _interval_s(found, max_points)
    return JobTelemetry(
        job_id=record.id, interval_s=interval_s, data=[_to_wire(series, interval_s, names) for series in found]
    )


def read_history(
    services: Services,
    owner: str,
    node: str,
    *,
    names: Collection[str],
    after: datetime | None,
    until: datetime | None,
    max_points: int,
) -> NodeHistory:
    """The series of a machine and its GPUs, which are the same for every owner; otherwise as `read_telemetry`."""
    with services.store.read() as tx:
        stored = tx.telemetry.of_node(node, after=after, until=until)
        if not stored and not tx.telemetry.has_node(node):
            raise NotFoundError("There are no measurements of a machine with this name.", "node_not_found", "node")
    found = [series for series in stored if series.points.times]
    interval_s = _interval_s(found, max_points)
    data = [
        NodeSeries(device=series.device, times=_times(points), values=_values(points, names))
        for series in found
        for points in [widen(series.points, interval_s)]
    ]
    return NodeHistory(node=node, interval_s=interval_s, data=data)


def _interval_s(found: list[StoredSeries], max_points: int) -> int:
    """The shortest interval that makes few enough points of the longest series."""
    span_s = max((max(series.points.times) - min(series.points.times) for series in found), default=0.0)
    least_s = span_s / (max_points - 1)  # a span has one more border than intervals
    days = -(-least_s // INTERVALS_S[-1])
    return next((each for each in INTERVALS_S if each >= least_s), int(days) * INTERVALS_S[-1])


def _to_wire(series: StoredSeries, interval_s: int, names: Collection[str]) -> DeviceSeries:
    points = widen(series.points, interval_s)
    return DeviceSeries(
        node=series.node,
        device=series.device,
        times=_times(points),
        attempts=[int(attempt or 0) for attempt in points.series[ATTEMPT].max],
        values=_values(points, names),
    )


def _times(points: Points) -> list[datetime]:
    return [datetime.fromtimestamp(at, UTC) for at in points.times]


def _values(points: Points, names: Collection[str]) -> dict[str, Spread]:
    return {
        name: Spread(min=each.min, mean=each.mean, max=each.max)
        for name, each in points.series.items()
        if name != ATTEMPT and (not names or name in names)
    }

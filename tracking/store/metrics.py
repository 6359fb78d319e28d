"""Metric points for charts, one for each name and step."""

import math
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, or_, select

from tracking.store.database import insert_into, once_per_dialect
from tracking.store.records import MetricRecord
from tracking.store.rows import columns_of, jobs, metrics

COLUMNS = columns_of(metrics, MetricRecord)


class MetricRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, points: Sequence[MetricRecord]) -> None:
        """Add points. A point of the same step is replaced, unless a newer attempt measured it.

        Points of an attempt older than the job's newest are left out, and so are values that are not finite.
        """
        rows = [vars(point) for point in points if math.isfinite(point.value)]
        if not rows:
            return
        # Always in the order of the key, so that two writers cannot deadlock.
        rows.sort(key=lambda row: (row["job_id"], row["name"], row["step"]))
        self._connection.execute(_upsert(self._connection), rows)

    def series(self, job_id: str, names: Collection[str] | None = None, max_points: int = 2000) -> list[MetricRecord]:
        """The points by name and step, thinned evenly to at most `max_points` (2 or more) per name.

        The first and the last point of a series are always included.
        """
        wanted = [metrics.c.job_id == job_id]
        if names is not None:
            wanted.append(metrics.c.name.in_(names))
        sizes = self._connection.execute(
            select(metrics.c.name, func.count().label("num_points"))
            .where(*wanted)
            .group_by(metrics.c.name)
            .order_by(metrics.c.name)
        ).all()
        if all(size.num_points <= max_points for size in sizes):
            return self._points(select(*COLUMNS).where(*wanted).order_by(metrics.c.name, metrics.c.step))
        return [
            point
            for name, num_points in sizes
            for point in self._points(_thinned(job_id, name, num_points, max(max_points, 2)))
        ]

    def values(self, job_id: str, name: str) -> dict[int, float]:
        """All values of one series by step, lowest first."""
        mine = select(metrics.c.step, metrics.c.value).where(metrics.c.job_id == job_id, metrics.c.name == name)
        return {row.step: row.value for row in self._connection.execute(mine.order_by(metrics.c.step))}

    def at_steps(self, job_id: str, names: Collection[str], steps: Collection[int]) -> dict[int, dict[str, float]]:
        """The values of these series at these steps, by step and name."""
        found: dict[int, dict[str, float]] = {}
        wanted = (metrics.c.job_id == job_id, metrics.c.name.in_(names), metrics.c.step.in_(steps))
        for row in self._connection.execute(select(metrics.c.step, metrics.c.name, metrics.c.value).where(*wanted)):
            found.setdefault(row.step, {})[row.name] = row.value
        return found

    def names(self, job_id: str) -> list[str]:
        """The names of the job's series."""
        names = select(metrics.c.name).where(metrics.c.job_id == job_id).distinct()
        return list(self._connection.execute(names).scalars())

    def last(self, job_id: str, count: int) -> list[MetricRecord]:
        """The `count` points of the highest steps, ordered by step and name."""
        points = self._points(
            select(*COLUMNS)
            .where(metrics.c.job_id == job_id)
            .order_by(metrics.c.step.desc(), metrics.c.name.desc())
            .limit(count)
        )
        return points[::-1]

    def forget_after(self, job_id: str, step: int) -> None:
        """Remove the points of all higher steps: the job resumes from an older checkpoint and measures them again."""
        self._connection.execute(delete(metrics).where(metrics.c.job_id == job_id, metrics.c.step > step))

    def _points(self, statement: Select[Any]) -> list[MetricRecord]:
        return [MetricRecord(*row) for row in self._connection.execute(statement)]


def _thinned(job_id: str, name: str, num_points: int, max_points: int) -> Select[Any]:
    """Divide the positions of a series into `max_points` equal buckets and keep the first of each."""
    position = func.row_number().over(order_by=metrics.c.step) - 1
    points = (
        select(*COLUMNS, position.label("position"))
        .where(metrics.c.job_id == job_id, metrics.c.name == name)
        .subquery()
    )
    kept = select(*(points.c[column.name] for column in COLUMNS)).order_by(points.c.step)
    if num_points <= max_points:
        return kept
    last_position, last_bucket = num_points - 1, max_points - 1
    bucket = points.c.position * last_bucket // last_position
    bucket_before = (points.c.position - 1) * last_bucket // last_position
    return kept.where(or_(points.c.position == 0, bucket > bucket_before))


@once_per_dialect
def _upsert(connection: Connection) -> Any:
    given = {column.name: bindparam(column.name, type_=column.type) for column in COLUMNS}
    insert = insert_into(connection, metrics).from_select(
        list(given),
        select(*given.values()).where(jobs.c.id == given["job_id"], jobs.c.attempt <= given["attempt"]),
    )
    return insert.on_conflict_do_update(
        index_elements=[metrics.c.job_id, metrics.c.name, metrics.c.step],
        set_={name: insert.excluded[name] for name in ("value", "at", "attempt")},
        where=metrics.c.attempt <= insert.excluded.attempt,
    )

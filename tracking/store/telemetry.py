"""Telemetry: packed points of devices and of the processes of jobs, fewer of them the older they are.

One point a second for the last hour or two, one for ten seconds for the last day or two, one a minute after that.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, insert, literal, or_, select

from tracking.store.rows import jobs
from tracking.store.telemetry_points import Columns, Points, join, pack, unpack, widen
from tracking.store.telemetry_rows import telemetry

NO_JOB = ""
ATTEMPT = "attempt"
MAX_SPAN_S = 900
"""Most seconds that a row of points of moments covers; more samples become several rows."""
NODE_HISTORY = timedelta(days=30)
"""How long the series of machines are kept; those of a job are kept as long as the job."""


class Thinning(NamedTuple):
    """When rows of one interval are put together into one row of a longer interval."""

    interval_s: int
    keep_s: int
    target_interval_s: int
    span_s: int
    """The time that the new row covers."""


THINNINGS = (Thinning(1, 3600, 10, 3600), Thinning(10, 86_400, 60, 86_400))


@dataclass(frozen=True, order=True)
class SeriesKey:
    """Of what a row has points: a device of a machine, or what a job's attempt had of it."""

    node: str
    device: str
    job_id: str = NO_JOB
    attempt: int = 0


@dataclass(frozen=True)
class StoredSeries:
    """Points of one device on one machine; for a job's, the series `ATTEMPT` has the attempt of each."""

    node: str
    device: str
    points: Points


class TelemetryRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, key: SeriesKey, points: Points, *, interval_s: int = 1) -> None:
        """Add a row. Nothing is added for a job that was deleted meanwhile, or twice for the same begin."""
        if not points.times:
            return
        row = (*_values_of(key), interval_s, int(points.times[0] * 1000), pack(points))
        is_taken = exists().where(*_is(key), telemetry.c.interval_s == interval_s, telemetry.c.begin_ms == row[-2])
        conditions = [~is_taken]
        if key.job_id != NO_JOB:
            conditions.append(exists().where(jobs.c.id == key.job_id))
        given = [literal(value, column.type) for value, column in zip(row, telemetry.c, strict=True)]
        self._connection.execute(insert(telemetry).from_select(list(telemetry.c), select(*given).where(*conditions)))

    def of_job(
        self, job_id: str, *, after: datetime | None = None, until: datetime | None = None
    ) -> list[StoredSeries]:
        """The series of the job's devices and processes, by machine and device, with points from `after` to `until`."""
        return self._read([telemetry.c.job_id == job_id], after, until)

    def of_node(self, node: str, *, after: datetime | None = None, until: datetime | None = None) -> list[StoredSeries]:
        """The series of a machine and its GPUs, by device, with points from `after` to `until`."""
        return self._read([telemetry.c.job_id == NO_JOB, telemetry.c.node == node], after, until)

    def has_node(self, node: str) -> bool:
        """Whether there are series of a machine with this name."""
        statement = select(exists().where(telemetry.c.job_id == NO_JOB, telemetry.c.node == node))
        return bool(self._connection.execute(statement).scalar_one())

    def _read(
        self, wanted: list[ColumnElement[bool]], after: datetime | None, until: datetime | None
    ) -> list[StoredSeries]:
        if until is not None:
            wanted.append(telemetry.c.begin_ms <= until.timestamp() * 1000)
        if after is not None:
            wanted.append(_may_reach(after.timestamp()))
        columns = (telemetry.c.node, telemetry.c.device, telemetry.c.attempt, telemetry.c.data)
        order = (telemetry.c.node, telemetry.c.device, telemetry.c.begin_ms)
        found: dict[tuple[str, str], list[Points]] = {}
        for node, device, attempt, data in self._connection.execute(select(*columns).where(*wanted).order_by(*order)):
            points = _within(unpack(data), after, until)
            own = {ATTEMPT: Columns.of_moments([attempt] * len(points.times))}
            found.setdefault((node, device), []).append(Points(points.times, points.series | own))
        return [StoredSeries(node, device, join(parts)) for (node, device), parts in found.items()]

    def thin_next(self, now: datetime) -> bool:
        """Put one group of old rows together; returns whether there was one. Repeat it until there is none."""
        for rule in THINNINGS:
            cutoff = _floor(int(now.timestamp()) - rule.keep_s, rule.span_s)
            oldest = self._connection.execute(
                select(*_KEY, telemetry.c.begin_ms)
                .where(telemetry.c.interval_s == rule.interval_s, telemetry.c.begin_ms < cutoff * 1000)
                .order_by(telemetry.c.begin_ms)
                .limit(1)
            ).one_or_none()
            if oldest is not None:
                job_id, attempt, node, device, begin_ms = oldest
                self._thin(rule, SeriesKey(node, device, job_id, attempt), _floor(begin_ms // 1000, rule.span_s))
                return True
        return False

    def forget_old_nodes(self, now: datetime) -> None:
        """Remove the old points of machines; those of jobs stay."""
        oldest_ms = int((now - NODE_HISTORY).timestamp() * 1000)
        self._connection.execute(
            delete(telemetry).where(telemetry.c.job_id == NO_JOB, telemetry.c.begin_ms < oldest_ms)
        )

    def _thin(self, rule: Thinning, key: SeriesKey, begin: int) -> None:
        group = (
            *_is(key),
            # With a row that was made of earlier ones: some may have been written late.
            telemetry.c.interval_s.in_((rule.interval_s, rule.target_interval_s)),
            telemetry.c.begin_ms >= begin * 1000,
            telemetry.c.begin_ms < (begin + rule.span_s) * 1000,
        )
        rows = self._connection.execute(select(telemetry.c.data).where(*group).order_by(telemetry.c.begin_ms)).scalars()
        points = widen(join(unpack(data) for data in rows), rule.target_interval_s)
        self._connection.execute(delete(telemetry).where(*group))
        self.add(key, points, interval_s=rule.target_interval_s)


_KEY = (telemetry.c.job_id, telemetry.c.attempt, telemetry.c.node, telemetry.c.device)


def _values_of(key: SeriesKey) -> tuple[str, int, str, str]:
    return key.job_id, key.attempt, key.node, key.device


def _is(key: SeriesKey) -> list[ColumnElement[bool]]:
    return [column == value for column, value in zip(_KEY, _values_of(key), strict=True)]


def _may_reach(after: float) -> ColumnElement[bool]:
    """Rows that may have points after this second: a row knows only when it begins."""
    longest_s = {1: MAX_SPAN_S} | {rule.target_interval_s: rule.span_s + MAX_SPAN_S for rule in THINNINGS}
    return or_(
        *(
            and_(telemetry.c.interval_s == interval_s, telemetry.c.begin_ms >= (after - span_s) * 1000)
            for interval_s, span_s in longest_s.items()
        )
    )


def _floor(second: int, span_s: int) -> int:
    return second // span_s * span_s


def _within(points: Points, after: datetime | None, until: datetime | None) -> Points:
    first = -math.inf if after is None else after.timestamp()
    last = math.inf if until is None else until.timestamp()
    kept = [row for row, at in enumerate(points.times) if first < at <= last]
    if len(kept) == len(points.times):
        return points
    return Points([points.times[row] for row in kept], {name: each.rows(kept) for name, each in points.series.items()})

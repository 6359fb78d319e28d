"""Numbers of the whole service, for its metrics. Sums over attempts stay when a job is deleted."""

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import datetime

from sqlalchemy import BigInteger, Column, Connection, Double, Table, and_, func, or_, select, text

from ftlab.status import JobStatus, ReasonCode
from tracking.store.column_types import EnumText
from tracking.store.database import insert_into
from tracking.store.events import event_logs
from tracking.store.records import AttemptRecord, AttemptTotals, JobRecord
from tracking.store.rows import IS_LIVE, IS_QUEUED, IS_UNCOUNTED, attempts, columns_of, jobs, metadata, metrics

attempt_totals = Table(
    "attempt_totals",
    metadata,
    # Sums over ended attempts, by their reason. They stay when a job is deleted.
    Column("reason", EnumText(ReasonCode), primary_key=True),
    Column("num_attempts", BigInteger, nullable=False),
    Column("run_s", Double, nullable=False),
    Column("cpu_s", Double, nullable=False),
    Column("gpu_s", Double, nullable=False),
    # Jobs whose first attempt is among these, and how long they had waited for it.
    Column("num_waits", BigInteger, nullable=False),
    Column("wait_s", Double, nullable=False),
)

COLUMNS = columns_of(attempt_totals, AttemptTotals)


class TotalsRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, ended: AttemptTotals) -> None:
        """Add an ended attempt. It must be called once for each."""
        assert ended.reason is not None, "only ended attempts are added up"
        row = insert_into(self._connection, attempt_totals).values(**vars(ended))
        sums = {
            column.name: column + row.excluded[column.name] for column in attempt_totals.c if not column.primary_key
        }
        self._connection.execute(row.on_conflict_do_update(index_elements=[attempt_totals.c.reason], set_=sums))

    def attempts(self, now: datetime) -> list[AttemptTotals]:
        """The sums over all attempts that ever were, by reason; those that are live count until now."""
        found = [AttemptTotals(*row) for row in self._connection.execute(select(*COLUMNS))]
        return _summed([*found, *self._uncounted(now)])

    def jobs_by_status(self) -> dict[JobStatus, int]:
        """The number of jobs on record in each status."""
        rows = self._connection.execute(select(jobs.c.status, func.count()).group_by(jobs.c.status))
        return {row[0]: row[1] for row in rows}

    def oldest_queued_at(self) -> datetime | None:
        """When the job that has been in the queue for the longest time was submitted."""
        oldest = select(jobs.c.created_at).where(IS_QUEUED).order_by(jobs.c.created_at).limit(1)
        found: datetime | None = self._connection.execute(oldest).scalar_one_or_none()
        return found

    def devices_held(self) -> tuple[float, float]:
        """CPU cores and GPUs of all live attempts."""
        sums = (func.coalesce(func.sum(column), 0) for column in (attempts.c.cpus, attempts.c.gpus))
        cpus, gpus = self._connection.execute(select(*sums).where(attempts.c.ended_at.is_(None))).one()
        return float(cpus), float(gpus)

    def newest_points(self, name: str) -> dict[str, float]:
        """The newest value of a metric of each job that has devices."""
        newest = (
            select(metrics.c.job_id, func.max(metrics.c.step).label("step"))
            .where(metrics.c.name == name, metrics.c.job_id.in_(select(jobs.c.id).where(IS_LIVE)))
            .group_by(metrics.c.job_id)
            .subquery()
        )
        is_newest = and_(metrics.c.job_id == newest.c.job_id, metrics.c.step == newest.c.step, metrics.c.name == name)
        rows = self._connection.execute(select(metrics.c.job_id, metrics.c.value).join(newest, is_newest))
        return {row[0]: row[1] for row in rows}

    def num_events(self) -> int:
        """How many events were ever recorded, also those of deleted jobs."""
        total = select(func.coalesce(func.sum(event_logs.c.last_position), 0))
        return int(self._connection.execute(total).scalar_one())

    def database_bytes(self) -> int:
        """Size of the database."""
        is_sqlite = self._connection.dialect.name == "sqlite"
        size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        found = text(size if is_sqlite else "SELECT pg_database_size(current_database())")
        return int(self._connection.execute(found).scalar_one())

    def _uncounted(self, now: datetime) -> list[AttemptTotals]:
        """Attempts that are not added up yet: live ones, and those that ended since the scheduler last looked."""
        columns = (
            attempts.c.number,
            attempts.c.cpus,
            attempts.c.gpus,
            attempts.c.created_at,
            attempts.c.ended_at,
            attempts.c.reason,
            jobs.c.created_at.label("submitted_at"),
        )
        is_uncounted = or_(attempts.c.ended_at.is_(None), IS_UNCOUNTED)
        statement = select(*columns).join(jobs, jobs.c.id == attempts.c.job_id).where(is_uncounted)
        return [
            _totals(row.reason, row.number, row.cpus, row.gpus, row.submitted_at, row.created_at, row.ended_at or now)
            for row in self._connection.execute(statement)
        ]


def totals_of(attempt: AttemptRecord, job: JobRecord) -> AttemptTotals:
    """The share of one ended attempt in the sums."""
    assert attempt.ended_at is not None, "it has ended"
    reason = attempt.reason or ReasonCode.INTERNAL_ERROR
    times = job.created_at, attempt.created_at, attempt.ended_at
    return _totals(reason, attempt.number, attempt.cpus, attempt.gpus, *times)


def _totals(
    reason: ReasonCode | None,
    number: int,
    cpus: int,
    gpus: float,
    submitted_at: datetime,
    started_at: datetime,
    ended_at: datetime,
) -> AttemptTotals:
    run_s = max(0.0, (ended_at - started_at).total_seconds())
    is_first = number == 1
    wait_s = max(0.0, (started_at - submitted_at).total_seconds()) if is_first else 0.0
    return AttemptTotals(reason, 1, run_s, cpus * run_s, gpus * run_s, int(is_first), wait_s)


def _summed(found: Iterable[AttemptTotals]) -> list[AttemptTotals]:
    sums: dict[ReasonCode | None, AttemptTotals] = {}
    for each in found:
        known = sums.get(each.reason)
        if known is None:
            sums[each.reason] = each
            continue
        names = (field.name for field in fields(AttemptTotals) if field.name != "reason")
        added = {name: getattr(known, name) + getattr(each, name) for name in names}
        sums[each.reason] = replace(known, **added)
    return list(sums.values())

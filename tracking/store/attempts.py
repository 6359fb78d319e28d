"""Attempts to run a job: the live one and earlier ones.

The job's row is always locked before the attempt's, so that two transactions cannot wait for each other.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, or_, select, update

from ftlab.errors import NotFoundError
from ftlab.status import ReasonCode
from tracking.store.errors import StaleJobError
from tracking.store.records import AttemptRecord, JobRef, JobState
from tracking.store.rows import IS_UNCOUNTED, IS_UNRELEASED, attempts, columns_of, jobs

COLUMNS = columns_of(attempts, AttemptRecord)
_LOCK_LIVE = (
    select(jobs.c.status, jobs.c.stop_kind)
    .where(jobs.c.id == bindparam("job"), jobs.c.live_attempt == bindparam("of_attempt"))
    .with_for_update(key_share=True)
)
_BEAT = (
    update(attempts)
    .where(attempts.c.job_id == bindparam("job"), attempts.c.number == bindparam("of_attempt"))
    .values(heartbeat_at=bindparam("beat_at"))
)


class AttemptRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, ref: JobRef) -> AttemptRecord:
        found = self._records(select(*COLUMNS).where(*_is(ref)))
        if not found:
            raise NotFoundError(f"Job {ref.id!r} has no attempt {ref.attempt}.", "attempt_not_found")
        return found[0]

    def live(self) -> list[AttemptRecord]:
        """The live attempts of all jobs, oldest first."""
        statement = select(*COLUMNS).where(attempts.c.ended_at.is_(None))
        return self._records(statement.order_by(attempts.c.created_at, attempts.c.job_id))

    def of_job(self, job_id: str) -> list[AttemptRecord]:
        """First attempt first."""
        statement = select(*COLUMNS).where(attempts.c.job_id == job_id)
        return self._records(statement.order_by(attempts.c.number))

    def run_times(self, job_ids: Collection[str], *, now: datetime) -> dict[str, float]:
        """Seconds of all attempts by job, those of a live one until now; jobs without an attempt are left out."""
        rows = self._connection.execute(
            select(attempts.c.job_id, attempts.c.created_at, attempts.c.ended_at).where(attempts.c.job_id.in_(job_ids))
        )
        total_s: dict[str, float] = {}
        for job_id, begin, end in rows:
            total_s[job_id] = total_s.get(job_id, 0.0) + max(0.0, ((end or now) - begin).total_seconds())
        return total_s

    def without_cost_record(self, job_ids: Collection[str]) -> list[AttemptRecord]:
        """Attempts of these jobs that are live, or whose use is not counted yet."""
        statement = select(*COLUMNS).where(attempts.c.job_id.in_(job_ids), attempts.c.counted_at.is_(None))
        return self._records(statement.order_by(attempts.c.job_id, attempts.c.number))

    def without_cost_record_of(self, owner: str) -> list[AttemptRecord]:
        """Attempts of this owner's jobs that are live, or whose use is not counted yet."""
        # From the few attempts to their jobs; a join would start from the owner's many jobs.
        owner_of_attempt = select(jobs.c.owner).where(jobs.c.id == attempts.c.job_id).scalar_subquery()
        is_open = or_(attempts.c.ended_at.is_(None), IS_UNCOUNTED)
        return self._records(select(*COLUMNS).where(is_open, owner_of_attempt == owner))

    def heartbeat(self, ref: JobRef, *, now: datetime) -> JobState | None:
        """Record a sign of life.

        Returns the job's state, or `None` when the attempt has been ended or replaced, and must stop.
        """
        state = lock_live_attempt(self._connection, ref)
        if state is not None:
            self._connection.execute(_BEAT, {"job": ref.id, "of_attempt": ref.attempt, "beat_at": now})
        return state

    def set_processes(
        self,
        ref: JobRef,
        *,
        placement_groups: Sequence[str] | None = None,
        pids: Sequence[int] | None = None,
        process_devices: Sequence[tuple[str, tuple[int, ...]]] | None = None,
    ) -> None:
        """Record what must be cleaned up after the attempt.

        Raises `StaleJobError` when it is no longer live.
        """
        require_live_attempt(self._connection, ref)
        values: dict[str, list[Any]] = {}
        if placement_groups is not None:
            values["placement_groups"] = list(placement_groups)
        if pids is not None:
            values["pids"] = list(pids)
        if process_devices is not None:
            values["process_devices"] = [[node, list(gpus)] for node, gpus in process_devices]
        if values:
            self._connection.execute(update(attempts).where(*_is(ref)).values(**values))

    def end(
        self,
        ref: JobRef,
        *,
        reason: ReasonCode,
        message: str | None,
        now: datetime,
        failure: Mapping[str, Any] | None = None,
    ) -> bool:
        """End the attempt: its later writes are refused. Returns False when it had ended before.

        `failure` holds what the run reported of its failure besides reason and message, as JSON values.
        """
        closed = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == ref.id, jobs.c.live_attempt == ref.attempt)
            .values(live_attempt=None, updated_at=now)
        )
        if closed.rowcount == 0:
            return False
        told = {"ended_at": now, "reason": reason, "message": message, "failure": failure}
        self._connection.execute(update(attempts).where(*_is(ref)).values(**told))
        return True

    def unreleased(self) -> list[AttemptRecord]:
        """Ended attempts whose placement groups have not been released."""
        return self._records(select(*COLUMNS).where(IS_UNRELEASED).order_by(attempts.c.ended_at))

    def released(self, ref: JobRef) -> None:
        """Record that the placement groups of an ended attempt are released."""
        self._connection.execute(
            update(attempts).where(*_is(ref), attempts.c.ended_at.is_not(None)).values(placement_groups=[])
        )

    def uncounted(self) -> list[AttemptRecord]:
        """Ended attempts whose device use has not been counted for their owner; they have no cost record either."""
        return self._records(select(*COLUMNS).where(IS_UNCOUNTED).order_by(attempts.c.ended_at, attempts.c.job_id))

    def count(self, ref: JobRef, *, now: datetime) -> bool:
        """Record that the device use of an ended attempt is counted. Returns False unless it was uncounted."""
        counted = self._connection.execute(update(attempts).where(*_is(ref), IS_UNCOUNTED).values(counted_at=now))
        return counted.rowcount == 1

    def _records(self, statement: Select[Any]) -> list[AttemptRecord]:
        return [_to_record(row) for row in self._connection.execute(statement)]


def lock_live_attempt(connection: Connection, ref: JobRef) -> JobState | None:
    """The job's state if `ref` is its live attempt, which it then stays until the transaction ends; else `None`."""
    row = connection.execute(_LOCK_LIVE, {"job": ref.id, "of_attempt": ref.attempt}).one_or_none()
    return None if row is None else JobState(*row)


def require_live_attempt(connection: Connection, ref: JobRef) -> None:
    if lock_live_attempt(connection, ref) is None:
        raise StaleJobError(f"Attempt {ref.attempt} of job {ref.id!r} is no longer live.")


def _is(ref: JobRef) -> tuple[Any, Any]:
    return attempts.c.job_id == ref.id, attempts.c.number == ref.attempt


def _to_record(row: Row[Any]) -> AttemptRecord:
    values = row._asdict()
    values["placement_groups"] = tuple(values["placement_groups"])
    values["pids"] = tuple(values["pids"])
    values["process_devices"] = tuple((node, tuple(gpus)) for node, gpus in values["process_devices"])
    values["placement"] = tuple((node, gpu) for node, gpu in values["placement"])
    return AttemptRecord(**values)

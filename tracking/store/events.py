"""The append-only event log of each job. `seq` starts at 1 and has no gap."""

from collections.abc import Collection, Sequence
from datetime import UTC

from sqlalchemy import Connection, func, insert, select, update

from ftlab.schemas import EventKind
from tracking.store.column_types import clean_data
from tracking.store.errors import StaleJobError
from tracking.store.records import EventRecord, JobRef, NewEvent
from tracking.store.rows import columns_of, events, jobs

COLUMNS = columns_of(events, EventRecord)
_ADD = insert(events)


class EventRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, ref: JobRef, new_events: Sequence[NewEvent]) -> list[EventRecord]:
        """Number the events and add them to the log.

        Raises `StaleJobError` when the job has a newer attempt than `ref`.
        """
        if not new_events:
            return []
        last_seq = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == ref.id, jobs.c.attempt == ref.attempt)
            .values(last_seq=jobs.c.last_seq + len(new_events))
            .returning(jobs.c.last_seq)
        ).scalar_one_or_none()
        if last_seq is None:
            raise StaleJobError(f"Attempt {ref.attempt} of job {ref.id!r} is no longer the newest.")
        return write_events(self._connection, ref, last_seq, new_events)

    def after(
        self, job_id: str, seq: int, limit: int = 500, kinds: Collection[EventKind] | None = None
    ) -> list[EventRecord]:
        """The first `limit` events with a number above `seq`, oldest first."""
        statement = select(*COLUMNS).where(events.c.job_id == job_id, events.c.seq > seq)
        if kinds is not None:
            statement = statement.where(events.c.kind.in_(kinds))
        rows = self._connection.execute(statement.order_by(events.c.seq).limit(limit))
        return [EventRecord(*row) for row in rows]

    def tail(self, job_id: str, kind: EventKind | Sequence[EventKind], count: int) -> list[EventRecord]:
        """The last `count` events of a kind, or of several, oldest first."""
        is_wanted = events.c.kind == kind if isinstance(kind, EventKind) else events.c.kind.in_(kind)
        rows = self._connection.execute(
            select(*COLUMNS).where(events.c.job_id == job_id, is_wanted).order_by(events.c.seq.desc()).limit(count)
        ).all()
        return [EventRecord(*row) for row in reversed(rows)]

    def last_before(self, job_id: str, kind: EventKind, seq: int) -> EventRecord | None:
        """The newest event of a kind with a number up to `seq`."""
        found = select(*COLUMNS).where(events.c.job_id == job_id, events.c.kind == kind, events.c.seq <= seq)
        row = self._connection.execute(found.order_by(events.c.seq.desc()).limit(1)).one_or_none()
        return None if row is None else EventRecord(*row)

    def newest_of_attempts(self, job_id: str, kinds: Collection[EventKind]) -> list[EventRecord]:
        """The newest event of each of these kinds in each attempt, oldest first."""
        newest = (
            select(func.max(events.c.seq))
            .where(events.c.job_id == job_id, events.c.kind.in_(kinds))
            .group_by(events.c.attempt, events.c.kind)
        )
        statement = select(*COLUMNS).where(events.c.job_id == job_id, events.c.seq.in_(newest))
        return [EventRecord(*row) for row in self._connection.execute(statement.order_by(events.c.seq))]


def write_events(
    connection: Connection, ref: JobRef, last_seq: int, new_events: Sequence[NewEvent]
) -> list[EventRecord]:
    """Insert events whose numbers, up to `last_seq`, were reserved in the job's row."""
    first_seq = last_seq - len(new_events) + 1
    records = [
        EventRecord(
            ref.id, seq, ref.attempt, new.at.astimezone(UTC), new.payload.kind, clean_data(new.payload.to_data())
        )
        for seq, new in enumerate(new_events, start=first_seq)
    ]
    connection.execute(_ADD, [vars(record) for record in records])
    return records

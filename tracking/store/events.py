"""The append-only event log of each job: `seq` starts at 1 and has no gap.

The events of all jobs of one owner are numbered a second time, by `position`, in the order in which they are committed:
a reader that has seen position N misses nothing at or below N that is committed later.
"""

from collections.abc import Collection, Sequence
from datetime import UTC
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, String, Table, bindparam, func, insert, select, update

from ftlab.schemas import EventKind
from tracking.store.column_types import clean_data
from tracking.store.database import insert_into, once_per_dialect
from tracking.store.errors import StaleJobError
from tracking.store.records import EventRecord, JobRef, NewEvent
from tracking.store.rows import columns_of, events, jobs, metadata

event_logs = Table(
    "event_logs",
    metadata,
    Column("owner", String, primary_key=True),
    # The newest event of this owner. Its row is locked until the transaction that writes events ends, so that events
    # become visible in the order of their positions.
    Column("last_position", BigInteger, nullable=False),
)

COLUMNS = columns_of(events, EventRecord)
_ADD = insert(events)
_NUMBER = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"), jobs.c.attempt == bindparam("of_attempt"))
    .values(last_seq=jobs.c.last_seq + bindparam("count", type_=jobs.c.last_seq.type))
    .returning(jobs.c.last_seq)
)


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
            _NUMBER, {"job": ref.id, "of_attempt": ref.attempt, "count": len(new_events)}
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

    def before(self, job_id: str, seq: int, limit: int, kinds: Collection[EventKind]) -> list[EventRecord]:
        """The `limit` newest events of these kinds with a number below `seq`, newest first."""
        statement = select(*COLUMNS).where(events.c.job_id == job_id, events.c.seq < seq, events.c.kind.in_(kinds))
        rows = self._connection.execute(statement.order_by(events.c.seq.desc()).limit(limit))
        return [EventRecord(*row) for row in rows]

    def of_owner(self, owner: str, position: int, limit: int = 500) -> list[EventRecord]:
        """The first `limit` events of all jobs of the owner after `position`, in the order of their positions."""
        statement = select(*COLUMNS).where(events.c.owner == owner, events.c.position > position)
        rows = self._connection.execute(statement.order_by(events.c.position).limit(limit))
        return [EventRecord(*row) for row in rows]

    def last_position(self, owner: str) -> int:
        """The position of the owner's newest event, also when its job was deleted; 0 before the first."""
        newest = select(event_logs.c.last_position).where(event_logs.c.owner == owner)
        return self._connection.execute(newest).scalar_one_or_none() or 0

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
    """Insert events whose numbers, up to `last_seq`, were reserved in the job's row.

    This locks the log of the job's owner until the transaction ends. So that two writers cannot deadlock, a transaction
    writes the events of one job only, and locks no other job afterwards.
    """
    reserved = connection.execute(_reserve(connection), {"job_id": ref.id, "count": len(new_events)})
    owner, last_position = reserved.one()
    numbers = zip(
        range(last_seq - len(new_events) + 1, last_seq + 1),
        range(last_position - len(new_events) + 1, last_position + 1),
        strict=True,
    )
    records = [
        EventRecord(
            ref.id,
            seq,
            ref.attempt,
            new.at.astimezone(UTC),
            new.payload.kind,
            clean_data(new.payload.to_data()),
            owner,
            position,
        )
        for (seq, position), new in zip(numbers, new_events, strict=True)
    ]
    connection.execute(_ADD, [vars(record) for record in records])
    return records


@once_per_dialect
def _reserve(connection: Connection) -> Any:
    """Reserve `count` positions in the log of the owner of a job; returns the owner and the last position."""
    job = select(jobs.c.owner, bindparam("count", type_=event_logs.c.last_position.type))
    add = insert_into(connection, event_logs).from_select(
        ["owner", "last_position"], job.where(jobs.c.id == bindparam("job_id"))
    )
    return add.on_conflict_do_update(
        index_elements=[event_logs.c.owner],
        set_={"last_position": event_logs.c.last_position + add.excluded.last_position},
    ).returning(event_logs.c.owner, event_logs.c.last_position)

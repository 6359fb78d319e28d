"""Notifications, and how far each job's event log was looked at for them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from ftlab.schemas.notifications import NotificationKind
from ftlab.status import JobKind, JobStatus, ReasonCode
from tracking.store.ids import new_id
from tracking.store.naming import not_found
from tracking.store.notification_rows import IS_UNREAD, deliveries, notifications
from tracking.store.paging import invalid_cursor
from tracking.store.rows import IS_BEHIND_NOTIFIER, columns_of, jobs


@dataclass(frozen=True)
class JobCursor:
    """A job, and the number of the newest event that was looked at for notifications."""

    id: str
    owner: str
    name: str
    status: JobStatus
    last_seq: int
    notified_seq: int
    kind: JobKind = JobKind.TRAINING


@dataclass(frozen=True)
class NewNotification:
    """A notification before it has an id. `title` and `message` are plain text."""

    kind: NotificationKind
    title: str
    message: str
    at: datetime
    job_id: str | None = None
    job_name: str | None = None
    event_seq: int | None = None
    reason: ReasonCode | None = None
    cause: str | None = None


@dataclass(frozen=True)
class NotificationRecord:
    """A stored notification. `seq` orders those of all owners; `id` is what the outside world sees."""

    seq: int
    id: str
    owner: str
    kind: NotificationKind
    job_id: str | None
    job_name: str | None
    event_seq: int | None
    title: str
    message: str
    reason: ReasonCode | None
    cause: str | None
    at: datetime
    read_at: datetime | None


COLUMNS = columns_of(notifications, NotificationRecord)
CURSOR_COLUMNS = columns_of(jobs, JobCursor)

Records = list[NotificationRecord]


class NotificationRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def behind(self, limit: int) -> list[JobCursor]:
        """Jobs with events that were not looked at, oldest first."""
        statement = select(*CURSOR_COLUMNS).where(IS_BEHIND_NOTIFIER).order_by(jobs.c.queue_seq).limit(limit)
        return [JobCursor(*row) for row in self._connection.execute(statement)]

    def cursor(self, job_id: str) -> JobCursor:
        """The job's cursor. Raises `NotFoundError`."""
        row = self._connection.execute(select(*CURSOR_COLUMNS).where(jobs.c.id == job_id)).one_or_none()
        if row is None:
            raise not_found("job", job_id)
        return JobCursor(*row)

    def advance(self, cursor: JobCursor, seq: int) -> bool:
        """Move the cursor to `seq`. Returns False when another process has moved it, or the job is gone."""
        moved = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == cursor.id, jobs.c.notified_seq == cursor.notified_seq)
            .values(notified_seq=seq)
        )
        return moved.rowcount == 1

    def add(self, owner: str, new: NewNotification) -> NotificationRecord:
        """Store a notification as unread, with an id of its own."""
        values = {"id": new_id("ntf"), "owner": owner, "read_at": None, **vars(new)}
        seq = self._connection.execute(insert(notifications).returning(notifications.c.seq), values).scalar_one()
        return NotificationRecord(seq=seq, **values)

    def get(self, notification_id: str, *, owner: str) -> NotificationRecord:
        """Raise `NotFoundError` when there is none, or it is another owner's."""
        row = self._connection.execute(
            select(*COLUMNS).where(notifications.c.id == notification_id, notifications.c.owner == owner)
        ).one_or_none()
        if row is None:
            raise not_found("notification", notification_id)
        return NotificationRecord(*row)

    def by_seq(self, seq: int) -> NotificationRecord | None:
        row = self._connection.execute(select(*COLUMNS).where(notifications.c.seq == seq)).one_or_none()
        return None if row is None else NotificationRecord(*row)

    def list(
        self,
        *,
        owner: str,
        kinds: Collection[NotificationKind] = (),
        job: str | None = None,
        is_unread: bool = False,
        after: str | None = None,
        limit: int = 20,
    ) -> Records:
        """One page, newest first. `after` is the id of the last one of the page before; `job` is an id or a name.

        Raises `MalformedRequestError` (code `invalid_cursor`).
        """
        conditions: list[ColumnElement[bool]] = [notifications.c.owner == owner]
        if after is not None:
            conditions.append(notifications.c.seq < self._seq_of(after, owner))
        if kinds:
            conditions.append(notifications.c.kind.in_(kinds))
        if job is not None:
            conditions.append((notifications.c.job_id == job) | (notifications.c.job_name == job))
        if is_unread:
            conditions.append(IS_UNREAD)
        statement = select(*COLUMNS).where(*conditions).order_by(notifications.c.seq.desc()).limit(limit)
        return [NotificationRecord(*row) for row in self._connection.execute(statement)]

    def num_unread(self, *, owner: str) -> int:
        mine = select(func.count()).select_from(notifications).where(notifications.c.owner == owner, IS_UNREAD)
        return int(self._connection.execute(mine).scalar_one())

    def mark_read(self, seqs: Sequence[int], *, now: datetime) -> None:
        """Mark these as read; the time at which one was first read stays."""
        self._connection.execute(
            update(notifications).where(notifications.c.seq.in_(seqs), IS_UNREAD).values(read_at=now)
        )

    def mark_all_read(self, *, owner: str, until: int | None, now: datetime) -> None:
        """Mark all of the owner as read, or those up to a `seq`."""
        conditions = [notifications.c.owner == owner, IS_UNREAD]
        if until is not None:
            conditions.append(notifications.c.seq <= until)
        self._connection.execute(update(notifications).where(*conditions).values(read_at=now))

    def prune(self, *, owner: str, keep: int) -> None:
        """Delete the owner's oldest notifications beyond `keep`, except those that are still to be delivered."""
        mine = select(notifications.c.seq).where(notifications.c.owner == owner)
        oldest_kept = mine.order_by(notifications.c.seq.desc()).offset(keep - 1).limit(1).scalar_subquery()
        is_due = select(deliveries.c.notification_seq).where(deliveries.c.notification_seq == notifications.c.seq)
        self._connection.execute(
            delete(notifications).where(
                notifications.c.owner == owner, notifications.c.seq < oldest_kept, ~is_due.exists()
            )
        )

    def _seq_of(self, notification_id: str, owner: str) -> int:
        of_id = (notifications.c.id == notification_id, notifications.c.owner == owner)
        seq: int | None = self._connection.execute(select(notifications.c.seq).where(*of_id)).scalar_one_or_none()
        if seq is None:
            raise invalid_cursor()
        return seq

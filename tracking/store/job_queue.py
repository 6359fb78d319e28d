"""The queue: its order, the places in it, and what changes them.

Every look at the queue follows a partial index that holds queued jobs only: the finished ones cost nothing.
"""

import operator
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
    update,
)

from ftlab.status import JobStatus
from tracking.store.errors import StaleJobError
from tracking.store.job_reads import COLUMNS, JobReads, JobRecords
from tracking.store.paging import invalid_cursor
from tracking.store.rows import IS_QUEUED, QUEUE_ORDER, is_queued, jobs

Compare = Callable[[Any, Any], ColumnElement[bool]]

NEAR = 250
"""So many jobs from the head or the end of the queue are counted one by one. One from the end that is nearer than this
costs a run through the index, which is a third of counting a range as long."""
UNFINISHED = tuple(status for status in JobStatus if not status.is_terminal)


class JobQueue(JobReads):
    """The queue's part of `JobRepository`."""

    def queued(self, limit: int = 1000, *, now: datetime | None = None) -> JobRecords:
        """The queue, next job first; with `now`, without the jobs that wait for a later time."""
        statement = select(*COLUMNS).where(IS_QUEUED)
        if now is not None:
            statement = statement.where(_is_due(now))
        return self._records(statement.order_by(*QUEUE_ORDER).limit(limit))

    def queue_page(self, owner: str, *, after: str | None = None, limit: int = 20) -> JobRecords:
        """One page of the owner's part of the queue, next job first. `after` is the id of the page's predecessor.

        That job may have left the queue since: the page goes on behind the place it had. Raises
        `MalformedRequestError` (code `invalid_cursor`) when the owner has no such job.
        """
        mine = select(jobs.c.queue_seq).where(IS_QUEUED, jobs.c.owner == owner)
        pages = [mine] if after is None else [mine.where(*behind) for behind in self._behind(owner, after)]
        # Each range of the index is read to the page's length.
        firsts = [page.order_by(*QUEUE_ORDER).limit(limit).subquery() for page in pages]
        numbers = union_all(*(select(first.c.queue_seq) for first in firsts))
        rows = select(*COLUMNS).where(jobs.c.queue_seq.in_(numbers))
        return self._records(rows.order_by(*QUEUE_ORDER).limit(limit))

    def queue_heads(self, per_owner: int, *, now: datetime) -> JobRecords:
        """The first jobs of every owner that wait for no later time, in the order of the queue."""
        found = [
            job
            for owner in self._connection.execute(_owners_in_queue()).scalars()
            for job in self._records(
                select(*COLUMNS)
                .where(IS_QUEUED, jobs.c.owner == owner, _is_due(now))
                .order_by(*QUEUE_ORDER)
                .limit(per_owner)
            )
        ]
        return sorted(found, key=lambda job: (-job.priority, job.queue_shift, job.queue_seq))

    def queued_counts(self) -> dict[str, int]:
        """How many jobs each owner has in the queue; owners without any are left out."""
        counts = select(jobs.c.owner, func.count().label("num_jobs")).where(IS_QUEUED).group_by(jobs.c.owner)
        return {row.owner: row.num_jobs for row in self._connection.execute(counts)}

    def num_queued(self, owner: str) -> int:
        """How many jobs of this owner are in the queue."""
        count = select(func.count()).where(IS_QUEUED, jobs.c.owner == owner)
        return self._connection.execute(count).scalar_one()

    def has_queued(self, owner: str, count: int) -> bool:
        """Whether the owner has so many jobs in the queue, or more."""
        # SQLite runs through a whole index three times as fast as through a range of it, and that mostly tells.
        return self._connection.execute(_IN_QUEUE).scalar_one() >= count and self.num_queued(owner) >= count

    def queue_position(self, job_id: str) -> int | None:
        """1 is next; `None` when the job is not queued."""
        return self.queue_positions([job_id]).get(job_id)

    def queue_positions(self, job_ids: Collection[str]) -> dict[str, int]:
        """The positions of those jobs that are queued, in one query.

        It counts jobs of the same priority together, and from the end of the queue where that is near.
        """
        positions: dict[str, int] = {}
        position = 0
        wanted = list(job_ids)
        found = (
            self._connection.execute(_PLACE, {"job_id": wanted[0]})
            if len(wanted) == 1
            else self._connection.execute(_PLACES, {"job_ids": wanted})
        )
        for row in found:
            position = position + row.distance if row.place is None else row.place
            positions[row.id] = position
        return positions

    def _behind(self, owner: str, job_id: str) -> list[tuple[ColumnElement[bool], ...]]:
        place = select(jobs.c.priority, jobs.c.queue_shift, jobs.c.queue_seq)
        mark = self._connection.execute(place.where(jobs.c.id == job_id, jobs.c.owner == owner)).one_or_none()
        if mark is None:
            raise invalid_cursor()
        same_priority = jobs.c.priority == mark.priority
        return [
            (same_priority, jobs.c.queue_shift == mark.queue_shift, jobs.c.queue_seq > mark.queue_seq),
            (same_priority, jobs.c.queue_shift > mark.queue_shift),
            (jobs.c.priority < mark.priority,),
        ]

    def front_shift(self, priority: int) -> int:
        """The `queue_shift` that puts a job before all others of this priority."""
        return int(self._connection.execute(select(_front(jobs, literal(priority)))).scalar_one())

    def move_to_front(self, job_id: str) -> None:
        """Put a queued job before all others of its priority. Raises `StaleJobError` when it is not queued."""
        front = _front(jobs.alias("queue"), jobs.c.priority)
        moved = self._connection.execute(update(jobs).where(jobs.c.id == job_id, IS_QUEUED).values(queue_shift=front))
        if moved.rowcount == 0:
            raise StaleJobError(f"Job {job_id!r} is not in the queue and cannot be moved to its front.")

    def set_priority(self, job_id: str, priority: int) -> None:
        """Give a job that has not ended another priority, and its place by submit order there.

        Raises `StaleJobError` when it has ended.
        """
        shift = case((jobs.c.priority == priority, jobs.c.queue_shift), else_=0)
        changed = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.status.in_(UNFINISHED))
            .values(priority=priority, queue_shift=shift)
        )
        if changed.rowcount == 0:
            raise StaleJobError(f"Job {job_id!r} has ended and needs no priority.")

    def set_waiting(self, sentences: Mapping[str, str | None]) -> int:
        """Keep what each of these jobs waits for. Returns how many sentences were new.

        Jobs that have left the queue are passed over, and a row whose sentence stays is not written.
        """
        known = self._connection.execute(
            select(jobs.c.id, jobs.c.waiting_for).where(IS_QUEUED, jobs.c.id.in_(sentences))
        )
        # Always in the order of the key, so that two writers cannot wait for each other.
        new = [
            {"job_id": job_id, "sentence": sentences[job_id]}
            for job_id, waiting_for in sorted(known.all())
            if waiting_for != sentences[job_id]
        ]
        if new:
            write = update(jobs).where(jobs.c.id == bindparam("job_id"), IS_QUEUED)
            self._connection.execute(write.values(waiting_for=bindparam("sentence")), new)
        return len(new)

    def set_data_ready(self, findings: Mapping[str, str]) -> None:
        """Keep what the doctor says of the data of these queued jobs: it is ready, and they wait for something else."""
        if findings:
            write = update(jobs).where(jobs.c.id == bindparam("job_id"), IS_QUEUED)
            new = [{"job_id": job_id, "said": findings[job_id]} for job_id in sorted(findings)]
            self._connection.execute(write.values(data_findings=bindparam("said")), new)


def _is_due(now: datetime) -> ColumnElement[bool]:
    return or_(jobs.c.not_before.is_(None), jobs.c.not_before <= now)


def _owners_in_queue() -> Select[tuple[str]]:
    """From one owner in the index to the next, past all the jobs of each."""
    first = select(func.min(jobs.c.owner).label("owner")).where(IS_QUEUED).cte("owners", recursive=True)
    after = select(func.min(jobs.c.owner)).where(IS_QUEUED, jobs.c.owner > first.c.owner).scalar_subquery()
    owners = first.union_all(select(after).where(first.c.owner.is_not(None)))
    return select(owners.c.owner).where(owners.c.owner.is_not(None))


def _places(is_wanted: ColumnElement[bool]) -> Select[tuple[str, int | None, int]]:
    """Rows in queue order: the job's distance to the wanted job before it with the same priority and shift.

    The first one with a priority and shift has its position, in `place`. Each number is made of counts of ranges of the
    index.
    """
    seq, class_ = jobs.c.queue_seq, (jobs.c.priority, jobs.c.queue_shift)
    before = func.lag(seq).over(partition_by=class_, order_by=seq).label("before")
    wanted = select(jobs.c.id, *class_, seq, before).where(IS_QUEUED, is_wanted).cte("wanted")
    num_near = case((wanted.c.before.is_(None), _num_ahead(wanted, NEAR))).label("num_near")
    # Materialized, for SQLite would count once for each use of the number.
    head = select(*wanted.c, num_near).cte("head").prefix_with("MATERIALIZED")
    num_behind = _num_behind(head, NEAR)
    place = case(
        (head.c.before.is_not(None), None),
        (head.c.num_near < NEAR, head.c.num_near + 1),
        (num_behind < NEAR, _IN_QUEUE.scalar_subquery() - num_behind),
        else_=_num_ahead(head) + 1,
    )
    queue = jobs.alias("queue")
    distance = _count(
        queue,
        head,
        queue.c.priority == head.c.priority,
        queue.c.queue_shift == head.c.queue_shift,
        queue.c.queue_seq > head.c.before,
        queue.c.queue_seq <= head.c.queue_seq,
    )
    order = (head.c.priority.desc(), head.c.queue_shift, head.c.queue_seq)
    return select(head.c.id, place.label("place"), distance.label("distance")).order_by(*order)


def _num_ahead(job: FromClause, limit: int | None = None) -> ColumnElement[int]:
    """How many jobs go before this one; `limit` or more where it is more."""
    return _num_beyond(job, operator.gt, operator.lt, limit)


def _num_behind(job: FromClause, limit: int) -> ColumnElement[int]:
    """How many jobs come after this one; `limit` or more where it is more."""
    return _num_beyond(job, operator.lt, operator.gt, limit)


def _num_beyond(job: FromClause, priority: Compare, place: Compare, limit: int | None) -> ColumnElement[int]:
    queue = jobs.alias("queue")
    same_priority = queue.c.priority == job.c.priority
    same_shift = queue.c.queue_shift == job.c.queue_shift
    ranges = (
        (same_priority, same_shift, place(queue.c.queue_seq, job.c.queue_seq)),
        (same_priority, place(queue.c.queue_shift, job.c.queue_shift)),
        (priority(queue.c.priority, job.c.priority),),
    )
    first, *others = (_count(queue, job, *conditions, limit=limit) for conditions in ranges)
    return sum(others, start=first)


def _count(
    queue: FromClause, job: FromClause, *conditions: ColumnElement[bool], limit: int | None = None
) -> ColumnElement[int]:
    """How many jobs of the queue, for this job of the statement around, meet the conditions; at most `limit`."""
    one: ColumnElement[int] = literal_column("1")
    met = select(one).select_from(queue).where(is_queued(queue), *conditions).correlate(job).limit(limit)
    return select(func.count()).select_from(met.subquery()).scalar_subquery()


def _front(queue: FromClause, priority: ColumnElement[int]) -> ScalarSelect[int]:
    lowest = func.coalesce(func.min(queue.c.queue_shift), 1)
    return select(lowest - 1).where(is_queued(queue), queue.c.priority == priority).scalar_subquery()


_IN_QUEUE = select(func.count()).select_from(jobs).where(IS_QUEUED)
_PLACES = _places(jobs.c.id.in_(bindparam("job_ids", expanding=True)))
_PLACE = _places(jobs.c.id == bindparam("job_id"))
"""Made once: every submit asks for a position, and to put this statement together takes longer than to run it."""

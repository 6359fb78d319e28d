"""The queue: its order, the places in it, and what changes them.

Every look at the queue follows a partial index that holds queued jobs only: the finished ones cost nothing.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    update,
)

from ftlab.life import JobStatus
from tracking.store.errors import StaleJobError
from tracking.store.job_reads import COLUMNS, JobReads, JobRecords
from tracking.store.rows import IS_QUEUED, QUEUE_ORDER, is_queued, jobs

UNFINISHED = tuple(status for status in JobStatus if not status.is_terminal)


class JobQueue(JobReads):
    """The queue's part of `JobRepository`."""

    def queued(self, limit: int = 1000, *, now: datetime | None = None) -> JobRecords:
        """The queue, next job first; with `now`, without the jobs that wait for a later time."""
        statement = select(*COLUMNS).where(IS_QUEUED)
        if now is not None:
            statement = statement.where(_is_due(now))
        return self._records(statement.order_by(*QUEUE_ORDER).limit(limit))

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

    def queue_position(self, job_id: str) -> int | None:
        """1 is next; `None` when the job is not queued."""
        return self.queue_positions([job_id]).get(job_id)

    def queue_positions(self, job_ids: Collection[str]) -> dict[str, int]:
        """The positions of those jobs that are queued, in one query.

        It counts to the last one of them only, and jobs of the same priority together.
        """
        positions: dict[str, int] = {}
        position = 0
        for row in self._connection.execute(_DISTANCES, {"job_ids": list(job_ids)}):
            position = (position if row.ahead is None else row.ahead) + row.distance
            positions[row.id] = position
        return positions

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


def _is_due(now: datetime) -> ColumnElement[bool]:
    return or_(jobs.c.not_before.is_(None), jobs.c.not_before <= now)


def _owners_in_queue() -> Select[tuple[str]]:
    """From one owner in the index to the next, past all the jobs of each."""
    first = select(func.min(jobs.c.owner).label("owner")).where(IS_QUEUED).cte("owners", recursive=True)
    after = select(func.min(jobs.c.owner)).where(IS_QUEUED, jobs.c.owner > first.c.owner).scalar_subquery()
    owners = first.union_all(select(after).where(first.c.owner.is_not(None)))
    return select(owners.c.owner).where(owners.c.owner.is_not(None))


def _distances() -> Select[tuple[str, int, int | None]]:
    """Rows in queue order: the job's distance to the wanted job before it with the same priority and shift.

    The first one with a priority and shift has its distance to the beginning of these, and in `ahead` the number
    of jobs before that beginning. Each number is the count of one range of the index.
    """
    seq, class_ = jobs.c.queue_seq, (jobs.c.priority, jobs.c.queue_shift)
    before = func.lag(seq).over(partition_by=class_, order_by=seq).label("before")
    wanted = (
        select(jobs.c.id, *class_, seq, before)
        .where(IS_QUEUED, jobs.c.id.in_(bindparam("job_ids", expanding=True)))
        .cte("wanted")
    )
    queue = jobs.alias("queue")
    same_priority = queue.c.priority == wanted.c.priority
    distance = _count(
        queue,
        same_priority,
        queue.c.queue_shift == wanted.c.queue_shift,
        queue.c.queue_seq > func.coalesce(wanted.c.before, 0),
        queue.c.queue_seq <= wanted.c.queue_seq,
    )
    higher = _count(queue, queue.c.priority > wanted.c.priority)
    in_front = _count(queue, same_priority, queue.c.queue_shift < wanted.c.queue_shift)
    ahead = case((wanted.c.before.is_(None), higher + in_front))
    order = (wanted.c.priority.desc(), wanted.c.queue_shift, wanted.c.queue_seq)
    return select(wanted.c.id, distance.label("distance"), ahead.label("ahead")).order_by(*order)


def _count(queue: FromClause, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(queue).where(is_queued(queue), *conditions).scalar_subquery()


def _front(queue: FromClause, priority: ColumnElement[int]) -> ScalarSelect[int]:
    lowest = func.coalesce(func.min(queue.c.queue_shift), 1)
    return select(lowest - 1).where(is_queued(queue), queue.c.priority == priority).scalar_subquery()


_DISTANCES = _distances()
"""Made once: every submit asks for a position, and to put this statement together takes longer than to run it."""

"""The queue of jobs: its order, positions in it, and changes to it.

Every query uses a partial index of the queued jobs, so that finished jobs cost nothing.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    update,
)

from tracking.store.chains import WAITS_FOR_JOBS
from tracking.store.errors import StaleJobError
from tracking.store.job_reads import COLUMNS, JobReads, JobRecords
from tracking.store.paging import invalid_cursor
from tracking.store.rows import IS_QUEUED, QUEUE_ORDER, UNFINISHED, is_queued, jobs

FARTHEST_RETRY = timedelta(minutes=10)
"""No job waits for its retry for so long: a later time is from before the clock was set back."""


class JobQueue(JobReads):
    """Base class of `JobRepository`: the queue."""

    def queued(self, limit: int = 1000) -> JobRecords:
        """The queue, next job first."""
        return self._records(select(*COLUMNS).where(IS_QUEUED).order_by(*QUEUE_ORDER).limit(limit))

    def queue_page(self, owner: str, *, after: str | None = None, limit: int = 20) -> JobRecords:
        """One page of the owner's queued jobs, next job first. `after` is the id of the last job of the page before.

        That job may have left the queue: the page continues after its former position. Raises `MalformedRequestError`
        (code `invalid_cursor`) when the owner has no such job.
        """
        mine = select(*COLUMNS).where(IS_QUEUED, jobs.c.owner == owner)
        page: JobRecords = []
        # Consecutive ranges of the index.
        for behind in [()] if after is None else self._behind(owner, after):
            rest = mine.where(*behind).order_by(*QUEUE_ORDER).limit(limit - len(page))
            page += self._records(rest)
        return page

    def queue_heads(self, per_owner: int, *, now: datetime) -> JobRecords:
        """The first jobs of every owner in queue order.

        Without jobs whose `not_before` is later, and without those that wait for other jobs.
        """
        found = [
            job
            for owner in self._connection.execute(_owners_in_queue()).scalars()
            for job in self._records(
                select(*COLUMNS)
                .where(IS_QUEUED, jobs.c.owner == owner, _is_due(now), ~WAITS_FOR_JOBS)
                .order_by(*QUEUE_ORDER)
                .limit(per_owner)
            )
        ]
        return sorted(found, key=lambda job: (-job.priority, job.queue_shift, job.queue_seq))

    def num_queued(self, owner: str) -> int:
        """The number of queued jobs of this owner."""
        count = select(func.count()).where(IS_QUEUED, jobs.c.owner == owner)
        return self._connection.execute(count).scalar_one()

    def any_queued(self) -> bool:
        """Whether any owner has a queued job, including those whose time to start is later."""
        return self._connection.execute(_ANY_QUEUED).first() is not None

    def has_queued(self, owner: str, count: int) -> bool:
        """Whether the owner has at least `count` queued jobs."""
        # SQLite counts a whole index three times as fast as a range of it, and the whole is mostly small enough.
        return self._connection.execute(_IN_QUEUE).scalar_one() >= count and self.num_queued(owner) >= count

    def queue_positions(self, job_ids: Collection[str]) -> dict[str, int]:
        """The positions of those jobs that are queued, in one query; 1 is next."""
        positions: dict[str, int] = {}
        position = 0
        for row in self._connection.execute(_PLACES, {"job_ids": list(job_ids)}):
            position = row.num_nearer + (position if row.num_ahead is None else row.num_ahead)
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
        """The `queue_shift` of a job that goes before all others of this priority."""
        return int(self._connection.execute(select(_front(jobs, literal(priority)))).scalar_one())

    def move_to_front(self, job_id: str) -> None:
        """Move a queued job before all others of its priority. Raises `StaleJobError` when it is not queued.

        What it waits for is unknown until the scheduler has seen it at its new place.
        """
        front = _front(jobs.alias("queue"), jobs.c.priority)
        moved = self._connection.execute(
            update(jobs).where(jobs.c.id == job_id, IS_QUEUED).values(queue_shift=front, waiting_for=None)
        )
        if moved.rowcount == 0:
            raise StaleJobError(f"Job {job_id!r} is not in the queue and cannot be moved to its front.")

    def move_behind(self, job_id: str, other_id: str) -> None:
        """Move a queued job right behind another queued one; both must have the same priority.

        The jobs up to and including the other one make room by moving ahead, so that later submissions stay behind all
        of them. Raises `StaleJobError` when one of the two is not queued.
        """
        place = select(jobs.c.priority, jobs.c.queue_shift, jobs.c.queue_seq)
        other = self._connection.execute(place.where(jobs.c.id == other_id, IS_QUEUED)).one_or_none()
        if other is None:
            raise StaleJobError(f"Job {other_id!r} is not in the queue, so no job can be moved behind it.")
        is_ahead = or_(
            jobs.c.queue_shift < other.queue_shift,
            and_(jobs.c.queue_shift == other.queue_shift, jobs.c.queue_seq <= other.queue_seq),
        )
        ahead = select(jobs.c.id).where(IS_QUEUED, jobs.c.priority == other.priority, is_ahead, jobs.c.id != job_id)
        # Locked in the order of the key, so that two writers cannot deadlock.
        ids = self._connection.execute(ahead.order_by(jobs.c.id).with_for_update()).scalars().all()
        if ids:
            makes_room = update(jobs).where(jobs.c.id == bindparam("job_id"), IS_QUEUED)
            moved_ahead = makes_room.values(queue_shift=jobs.c.queue_shift - 2)
            self._connection.execute(moved_ahead, [{"job_id": found} for found in ids])
        moved = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, IS_QUEUED, jobs.c.priority == other.priority)
            .values(queue_shift=other.queue_shift - 1, waiting_for=None)
        )
        if moved.rowcount == 0:
            raise StaleJobError(f"Job {job_id!r} is not in the queue with priority {other.priority} any more.")

    def set_priority(self, job_id: str, priority: int) -> None:
        """Change the priority of a job that has not ended; its position there follows from the submission order.

        What it waits for is unknown until the scheduler has seen it at its new place.
        Raises `StaleJobError` when it has ended.
        """
        shift = case((jobs.c.priority == priority, jobs.c.queue_shift), else_=0)
        changed = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.status.in_(UNFINISHED))
            .values(priority=priority, queue_shift=shift, waiting_for=None)
        )
        if changed.rowcount == 0:
            raise StaleJobError(f"Job {job_id!r} has ended; its priority cannot be changed.")

    def set_waiting(self, sentences: Mapping[str, str | None]) -> int:
        """Store what each of these jobs waits for. Returns the number of changed sentences.

        Jobs that have left the queue are skipped, and rows whose sentence stays the same are not written.
        """
        known = self._connection.execute(
            select(jobs.c.id, jobs.c.waiting_for).where(IS_QUEUED, jobs.c.id.in_(sentences))
        )
        # Always in the order of the key, so that two writers cannot deadlock.
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
        """Store the doctor's findings for queued jobs whose data is ready while they wait for something else."""
        if findings:
            write = update(jobs).where(jobs.c.id == bindparam("job_id"), IS_QUEUED)
            new = [{"job_id": job_id, "said": findings[job_id]} for job_id in sorted(findings)]
            self._connection.execute(write.values(data_findings=bindparam("said")), new)


def _is_due(now: datetime) -> ColumnElement[bool]:
    is_far = jobs.c.not_before > now + FARTHEST_RETRY
    return or_(jobs.c.not_before.is_(None), jobs.c.not_before <= now, is_far)


def _owners_in_queue() -> Select[tuple[str]]:
    """The distinct owners, read by jumping in the index from one owner to the next."""
    first = select(func.min(jobs.c.owner).label("owner")).where(IS_QUEUED).cte("owners", recursive=True)
    after = select(func.min(jobs.c.owner)).where(IS_QUEUED, jobs.c.owner > first.c.owner).scalar_subquery()
    owners = first.union_all(select(after).where(first.c.owner.is_not(None)))
    return select(owners.c.owner).where(owners.c.owner.is_not(None))


def _places() -> Select[tuple[str, int | None, int]]:
    """Rows in queue order, one for each queued job of `job_ids`. Every number is a count over a range of the index.

    `num_nearer` counts jobs of the same priority and shift: those after the previous row, up to and including this one.
    `num_ahead`, in the first row of a priority and shift, counts the jobs that precede all of these.
    """
    place = (jobs.c.priority, jobs.c.queue_shift, jobs.c.queue_seq)
    before = func.lag(jobs.c.queue_seq).over(partition_by=place[:2], order_by=jobs.c.queue_seq).label("before")
    is_wanted = jobs.c.id.in_(bindparam("job_ids", expanding=True))
    job = select(jobs.c.id, *place, before).where(IS_QUEUED, is_wanted).cte("job")
    queue = jobs.alias("queue")
    same_priority = queue.c.priority == job.c.priority
    is_nearer = and_(
        same_priority,
        queue.c.queue_shift == job.c.queue_shift,
        queue.c.queue_seq > func.coalesce(job.c.before, 0),
        queue.c.queue_seq <= job.c.queue_seq,
    )
    num_ahead = _count(queue, job, queue.c.priority > job.c.priority) + _count(
        queue, job, same_priority & (queue.c.queue_shift < job.c.queue_shift)
    )
    return select(
        job.c.id,
        case((job.c.before.is_(None), num_ahead)).label("num_ahead"),
        _count(queue, job, is_nearer).label("num_nearer"),
    ).order_by(job.c.priority.desc(), job.c.queue_shift, job.c.queue_seq)


def _count(queue: FromClause, job: FromClause, condition: ColumnElement[bool]) -> ScalarSelect[int]:
    """The number of queued jobs that meet a condition on the `job` of the enclosing statement."""
    count = select(func.count()).select_from(queue).where(is_queued(queue), condition)
    return count.correlate(job).scalar_subquery()


def _front(queue: FromClause, priority: ColumnElement[int]) -> ScalarSelect[int]:
    lowest = func.coalesce(func.min(queue.c.queue_shift), 1)
    return select(lowest - 1).where(is_queued(queue), queue.c.priority == priority).scalar_subquery()


_ANY_QUEUED = select(jobs.c.id).where(IS_QUEUED).limit(1)
_IN_QUEUE = select(func.count()).select_from(jobs).where(IS_QUEUED)
_PLACES = _places()
"""Built once: every submission needs a position, and building this statement takes longer than running it."""

"""Chains: which jobs a job waits for, and which attempt and model of each of them released it."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    Connection,
    Index,
    Integer,
    Select,
    String,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    or_,
    select,
    update,
)

from ftlab.schemas import AnyJobConfig, BaseJobConfig
from ftlab.schemas.auto import as_submitted
from ftlab.status import JobStatus, ReasonCode
from tracking.store.errors import StaleJobError
from tracking.store.records import JobRecord
from tracking.store.rows import IS_QUEUED, QUEUE_ORDER, job_id_column, jobs, metadata

# One row for each job that a job waits for, or waited for. No foreign key to the parent: it may be deleted once the
# job no longer waits for it.
chain_links = Table(
    "chain_links",
    metadata,
    job_id_column(),
    Column("parent_id", String, primary_key=True),
    # The attempt of the parent that completed, and the model that it had delivered by then. `NULL` while the job waits.
    Column("parent_attempt", Integer),
    Column("model_id", String),
)
Index("ix_chain_links_parent", chain_links.c.parent_id, chain_links.c.job_id)
IS_OPEN = chain_links.c.parent_attempt.is_(None)
Index("ix_chain_links_open", chain_links.c.job_id, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)

WAITS_FOR_JOBS = exists().where(chain_links.c.job_id == jobs.c.id, IS_OPEN).correlate(jobs)
"""The condition for jobs that wait for others."""

CHILDREN, PARENTS = jobs.alias("child"), jobs.alias("parent")
HAS_UNFINISHED_PARENT = (
    select(chain_links.c.parent_id)
    .outerjoin(PARENTS, PARENTS.c.id == chain_links.c.parent_id)
    .where(chain_links.c.job_id == jobs.c.id, IS_OPEN)
    .where(or_(PARENTS.c.status.is_(None), PARENTS.c.status != JobStatus.COMPLETED))
    .correlate(jobs)
    .exists()
)
IDS: BindParameter[str] = bindparam("job_ids", expanding=True)
# Built once: it is read with every view of a job, and the columns of an alias cost a millisecond.
LINKS: Select[Any] = (
    select(*chain_links.c, CHILDREN.c.name, CHILDREN.c.status, PARENTS.c.name, PARENTS.c.status)
    .join(CHILDREN, CHILDREN.c.id == chain_links.c.job_id)
    .join(PARENTS, PARENTS.c.id == chain_links.c.parent_id)
    .where(or_(chain_links.c.job_id.in_(IDS), chain_links.c.parent_id.in_(IDS)))
    .order_by(CHILDREN.c.queue_seq, PARENTS.c.queue_seq)
)


@dataclass(frozen=True)
class ParentState:
    """A job that another one waits for, as it is now."""

    id: str
    name: str
    status: JobStatus | None
    """`None` for a job that was deleted."""
    reason: ReasonCode | None
    waiting_for: str | None
    attempt: int


@dataclass(frozen=True)
class WaitingJob:
    """A queued job that waits for others."""

    id: str
    waiting_for: str | None
    parents: Sequence[ParentState]
    """All that it waits for."""


@dataclass(frozen=True)
class ChainLink:
    """Two jobs of which one waits for the other, or waited."""

    job_id: str
    """The job that waits."""
    parent_id: str
    parent_attempt: int | None
    """The attempt of the parent that released the job; `None` while it waits."""
    model_id: str | None
    """The model that the parent had delivered by then."""
    job_name: str
    job_status: JobStatus
    parent_name: str
    parent_status: JobStatus


class ChainRepository:
    """A link is only ever added from a new job to older ones, so that no job can wait for itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, job_id: str, parent_ids: Sequence[str]) -> None:
        """Have a new job wait for these jobs, which exist; the caller holds them with `hold`."""
        rows = [{"job_id": job_id, "parent_id": parent_id} for parent_id in parent_ids]
        if rows:
            self._connection.execute(insert(chain_links), rows)

    def release(self, job_id: str, parents: Mapping[str, tuple[int, str | None]]) -> None:
        """Record the attempt and the model of each parent that the job no longer waits for."""
        for parent_id, (attempt, model_id) in sorted(parents.items()):
            is_link = and_(chain_links.c.job_id == job_id, chain_links.c.parent_id == parent_id)
            self._connection.execute(
                update(chain_links).where(is_link).values(parent_attempt=attempt, model_id=model_id)
            )

    def open_parents(self, job_ids: Collection[str]) -> dict[str, list[ParentState]]:
        """For those of the jobs that still wait for others: all parents that have not released them."""
        found: dict[str, list[ParentState]] = defaultdict(list)
        if not job_ids:
            return found
        parent = (jobs.c.name, jobs.c.status, jobs.c.reason, jobs.c.waiting_for, jobs.c.attempt)
        statement = (
            select(chain_links.c.job_id, chain_links.c.parent_id, *parent)
            .outerjoin(jobs, jobs.c.id == chain_links.c.parent_id)
            .where(chain_links.c.job_id.in_(job_ids), IS_OPEN)
            .order_by(chain_links.c.job_id, jobs.c.queue_seq)
        )
        for row in self._connection.execute(statement):
            state = ParentState(
                row.parent_id, row.name or row.parent_id, row.status, row.reason, row.waiting_for, row.attempt or 0
            )
            found[row.job_id].append(state)
        return found

    def waiting_jobs(self, limit: int) -> list[WaitingJob]:
        """Queued jobs that wait for others; those whose parents have all completed come first."""
        waiting = select(chain_links.c.job_id).where(IS_OPEN)
        found = select(jobs.c.id, jobs.c.waiting_for).where(IS_QUEUED, jobs.c.id.in_(waiting))
        first = self._connection.execute(found.order_by(HAS_UNFINISHED_PARENT, *QUEUE_ORDER).limit(limit)).all()
        parents = self.open_parents([row.id for row in first])
        return [WaitingJob(row.id, row.waiting_for, parents[row.id]) for row in first]

    def links_of(self, job_ids: Collection[str]) -> list[ChainLink]:
        """The links of these jobs to their parents and to their children, in the order of submission.

        Those to a deleted job are left out.
        """
        found = self._connection.execute(LINKS, {"job_ids": list(job_ids)})
        return [ChainLink(*row) for row in found]

    def drop_open(self, job: JobRecord, *, now: datetime) -> None:
        """Have a locked job wait for no other job any more."""
        assert isinstance(job.config, BaseJobConfig)
        is_open = and_(chain_links.c.job_id == job.id, IS_OPEN)
        dropped = self._connection.execute(delete(chain_links).where(is_open).returning(chain_links.c.parent_id))
        gone = set(dropped.scalars())
        config = job.config.model_copy(update={"after": [each for each in job.config.after if each not in gone]})
        values = {"config": as_submitted(config, job.auto), "resolved_config": config.resolved()}
        self._connection.execute(
            update(jobs).where(jobs.c.id == job.id).values(**values, waiting_for=None, updated_at=now)
        )

    def start_from(self, job: JobRecord, config: AnyJobConfig, *, now: datetime, **columns: str | None) -> None:
        """Give a queued job that has never run the config that its completed parents decide.

        `columns` are other columns that follow from it. Raises `StaleJobError` when the job has left the queue.
        """
        changed = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.attempt == 0, jobs.c.status == JobStatus.QUEUED)
            .values(
                config=as_submitted(config, job.auto),
                resolved_config=config.resolved(),
                waiting_for=None,
                updated_at=now,
                **columns,
            )
        )
        if changed.rowcount == 0:
            raise StaleJobError(f"Job {job.id!r} has left the queue, and starts from nothing now.")

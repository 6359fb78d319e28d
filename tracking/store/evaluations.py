"""What evaluations measure: their key, by which a completed one answers a later one."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import JSON, Column, Connection, Index, String, Table, insert, select

from ftlab.status import JobStatus
from tracking.store.rows import job_id_column, jobs, metadata

# The jobs whose files an evaluation reads, one for each of its models that is of this service. No foreign key to them:
# they may be deleted once the evaluation has ended.
job_sources = Table(
    "job_sources",
    metadata,
    job_id_column(),
    Column("source_job_id", String, primary_key=True),
)
# What an evaluation measures: a completed one answers a later one with the same key.
evaluations = Table(
    "evaluations",
    metadata,
    job_id_column(),
    Column("owner", String, nullable=False),
    # A hash of the models, the rows and the settings; `NULL` where a model was not known at the submission.
    Column("key", String),
    # What each model was at the submission.
    Column("identities", JSON(none_as_null=True)),
)
Index("ix_evaluations_key", evaluations.c.owner, evaluations.c.key)
Index("ix_job_sources_source", job_sources.c.source_job_id, job_sources.c.job_id)


@dataclass(frozen=True)
class EvaluationRecord:
    key: str | None
    """`None` where a model was not known at the submission."""
    identities: tuple[str, ...] | None
    """What each model was at the submission."""


class EvaluationRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, job_id: str, *, owner: str, key: str | None, identities: Sequence[str] | None) -> None:
        """Record what a new evaluation measures, in the transaction that adds its job."""
        known = None if identities is None else list(identities)
        values = {"job_id": job_id, "owner": owner, "key": key, "identities": known}
        self._connection.execute(insert(evaluations), values)

    def get(self, job_id: str) -> EvaluationRecord | None:
        found = select(evaluations.c.key, evaluations.c.identities).where(evaluations.c.job_id == job_id)
        row = self._connection.execute(found).one_or_none()
        return None if row is None else EvaluationRecord(row.key, row.identities and tuple(row.identities))

    def completed(self, key: str, *, owner: str) -> str | None:
        """The newest completed evaluation of the owner with this key."""
        same = select(jobs.c.id).join(evaluations, evaluations.c.job_id == jobs.c.id)
        same = same.where(evaluations.c.owner == owner, evaluations.c.key == key)
        newest = same.where(jobs.c.status == JobStatus.COMPLETED).order_by(jobs.c.queue_seq.desc()).limit(1)
        found: str | None = self._connection.execute(newest).scalar_one_or_none()
        return found

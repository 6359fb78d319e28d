"""What requests of the OpenAI-compatible API say about jobs besides their configs, and the metadata of jobs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, ColumnElement, Connection, Index, String, Table, and_, insert, select

from tracking.store.column_types import UtcDateTime
from tracking.store.rows import job_id_column, jobs, metadata

openai_jobs = Table(
    "openai_jobs",
    metadata,
    job_id_column(),
    Column("owner", String, nullable=False),
    Column("model", String, nullable=False),
    Column("suffix", String),
    Column("method", JSON, nullable=False),
    Column("body_sha256", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
Index("ix_openai_jobs_body", openai_jobs.c.owner, openai_jobs.c.body_sha256, openai_jobs.c.created_at)

job_metadata = Table(
    "job_metadata",
    metadata,
    job_id_column(),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)
Index("ix_job_metadata_value", job_metadata.c.key, job_metadata.c.value, job_metadata.c.job_id)


@dataclass(frozen=True)
class OpenAiJobRecord:
    """One job of the OpenAI-compatible API: what its request said."""

    job_id: str
    owner: str
    model: str
    """Name of the base model as it was requested."""
    suffix: str | None
    method: dict[str, Any]
    """The method as it was requested, with its grader."""
    body_sha256: str
    created_at: datetime
    metadata: dict[str, str] = field(default_factory=dict)


class OpenAiJobRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, record: OpenAiJobRecord) -> None:
        """Add what a request says, in the transaction that adds its job."""
        values = {name: value for name, value in vars(record).items() if name != "metadata"}
        self._connection.execute(insert(openai_jobs), values)
        pairs = [{"job_id": record.job_id, "key": key, "value": value} for key, value in record.metadata.items()]
        if pairs:
            self._connection.execute(insert(job_metadata), pairs)

    def of_jobs(self, job_ids: Collection[str]) -> dict[str, OpenAiJobRecord]:
        """The records by job; jobs of other APIs have none."""
        found = self._connection.execute(select(openai_jobs).where(openai_jobs.c.job_id.in_(job_ids))).all()
        pairs: dict[str, dict[str, str]] = {row.job_id: {} for row in found}
        chosen = select(job_metadata).where(job_metadata.c.job_id.in_(list(pairs)))
        for row in self._connection.execute(chosen.order_by(job_metadata.c.key)):
            pairs[row.job_id][row.key] = row.value
        return {row.job_id: OpenAiJobRecord(**row._mapping, metadata=pairs[row.job_id]) for row in found}

    def newest_with_body(self, owner: str, body_sha256: str, since: datetime) -> str | None:
        """The newest job of the owner that was made since then by a request with this body."""
        same = (openai_jobs.c.owner == owner, openai_jobs.c.body_sha256 == body_sha256)
        newest = select(openai_jobs.c.job_id).where(*same, openai_jobs.c.created_at >= since)
        statement = newest.order_by(openai_jobs.c.created_at.desc()).limit(1)
        found: str | None = self._connection.execute(statement).scalar_one_or_none()
        return found


def has_metadata(pairs: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """The condition for jobs with all of these pairs."""
    return [
        select(job_metadata.c.job_id)
        .where(and_(job_metadata.c.job_id == jobs.c.id, job_metadata.c.key == key, job_metadata.c.value == value))
        .exists()
        for key, value in pairs.items()
    ]


def has_model() -> ColumnElement[bool]:
    """The condition for jobs whose model has been delivered, and not deleted."""
    return jobs.c.model_id.is_not(None)


def has_no_metadata() -> ColumnElement[bool]:
    """The condition for jobs without metadata."""
    return ~select(job_metadata.c.job_id).where(job_metadata.c.job_id == jobs.c.id).exists()

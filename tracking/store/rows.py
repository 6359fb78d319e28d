"""The tables. `migrations/` creates them; a test keeps the two equal."""

from dataclasses import fields
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    cast,
    false,
    literal_column,
    text,
)

from ftlab.schemas import EventKind
from ftlab.status import LIVE_STATUSES, JobKind, JobStatus, Phase, ReasonCode, StopKind
from tracking.store.column_types import AdjustmentList, CleanText, ConfigText, DecimalText, EnumText, UtcDateTime

UNFINISHED = tuple(status for status in JobStatus if not status.is_terminal)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def sequence(name: str) -> Column[int]:
    """A number that grows with every row. On SQLite, only an INTEGER PRIMARY KEY increments itself."""
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


def job_id_column(*, primary_key: bool = True) -> Column[str]:
    """The job that a row belongs to."""
    return Column("job_id", String, ForeignKey("jobs.id"), primary_key=primary_key, nullable=False)


jobs = Table(
    "jobs",
    metadata,
    sequence("queue_seq"),
    Column("id", String, nullable=False, unique=True),
    Column("owner", String, nullable=False),
    Column("name", String, nullable=False),
    Column("config", JSON, nullable=False),
    # `config` with all defaults filled in.
    Column("resolved_config", ConfigText, nullable=False),
    # What each `auto` of `config` became, with the reasons.
    Column("auto", JSON, nullable=False),
    # The first of its datasets; empty for a kind that reads none.
    Column("dataset_id", String, nullable=False),
    Column("eval_dataset_id", String),
    # The job whose model or checkpoint it starts from. No foreign key: that job may be deleted once this one has ended.
    Column("base_job_id", String),
    Column("status", EnumText(JobStatus), nullable=False),
    Column("message", CleanText, nullable=False),
    Column("reason", EnumText(ReasonCode)),
    Column("priority", Integer, nullable=False),
    Column("queue_shift", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    # Equal to `attempt` while that attempt is live. It repeats what `attempts.ended_at` says, so that an UPDATE of
    # the job can check it: after waiting for a lock, PostgreSQL rechecks only the updated row.
    Column("live_attempt", Integer),
    Column("retries_used", Integer, nullable=False),
    Column("not_before", UtcDateTime),
    Column("waiting_for", CleanText),
    Column("data_findings", CleanText),
    Column("has_new_files", Boolean, nullable=False),
    Column("stop_kind", EnumText(StopKind)),
    Column("resume_from", String),
    Column("adjustments", AdjustmentList, nullable=False),
    Column("step", Integer, nullable=False),
    Column("total_steps", Integer),
    Column("epoch", Double),
    Column("loss", Double),
    Column("eval_loss", Double),
    Column("eta_s", Double),
    Column("phase", EnumText(Phase)),
    Column("file", Integer),
    Column("file_progress", Double),
    # The sum of the sizes of its checkpoints.
    Column("disk_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("last_seq", Integer, nullable=False),
    Column("mlflow_seq", Integer, nullable=False),
    Column("mlflow_step", Integer, nullable=False),
    Column("mlflow_eval_step", Integer, nullable=False),
    # The newest event that was looked at for notifications.
    Column("notified_seq", Integer, nullable=False, server_default=text("0")),
    Column("mlflow_run_id", String),
    Column("mlflow_experiment_id", String),
    Column("model_revision", String),
    Column("estimated_time_s", Double),
    Column("model_id", String),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("paused_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("kind", EnumText(JobKind), nullable=False, server_default=JobKind.TRAINING),
    # The sweep whose trial it is. No foreign key: jobs outlive their sweep.
    Column("sweep_id", String),
)


# A literal, not a parameter: otherwise neither database can prove that a partial index applies.
def is_queued(table: FromClause) -> ColumnElement[bool]:
    """The condition for queued rows of the jobs table or an alias of it."""
    condition: ColumnElement[bool] = table.c.status == literal_column(f"'{JobStatus.QUEUED}'")
    return condition


IS_QUEUED = is_queued(jobs)
IS_LIVE = jobs.c.status.in_([literal_column(f"'{status}'") for status in JobStatus if status in LIVE_STATUSES])
IS_BEHIND_MLFLOW = and_(jobs.c.attempt > 0, jobs.c.last_seq > jobs.c.mlflow_seq)
"""Jobs with something to record; a job that has not started has nothing, and a queue may hold thousands."""
IS_BEHIND_NOTIFIER = jobs.c.last_seq > jobs.c.notified_seq
IS_BASED_ON_A_JOB = jobs.c.base_job_id.is_not(None)
HAS_FILES = jobs.c.disk_bytes > literal_column("0")

QUEUE_ORDER = (jobs.c.priority.desc(), jobs.c.queue_shift, jobs.c.queue_seq)
"""Highest priority first, then jobs that were moved to the front, then submit order."""

# The status, constant here, makes the indexes covering: SQLite would look it up in the table otherwise.
Index(
    "ix_jobs_queue",
    *QUEUE_ORDER,
    jobs.c.status,
    sqlite_where=IS_QUEUED,
    postgresql_where=IS_QUEUED,
)
Index(
    "ix_jobs_queue_by_owner",
    jobs.c.owner,
    *QUEUE_ORDER,
    jobs.c.status,
    sqlite_where=IS_QUEUED,
    postgresql_where=IS_QUEUED,
)
Index("ix_jobs_owner", jobs.c.owner, jobs.c.queue_seq, jobs.c.id)
Index("ix_jobs_owner_name", jobs.c.owner, jobs.c.name, jobs.c.queue_seq)
Index("ix_jobs_owner_status", jobs.c.owner, jobs.c.status, jobs.c.queue_seq)
Index("ix_jobs_owner_kind", jobs.c.owner, jobs.c.kind, jobs.c.queue_seq)
Index("ix_jobs_owner_disk", jobs.c.owner, jobs.c.disk_bytes, sqlite_where=HAS_FILES, postgresql_where=HAS_FILES)
Index("ix_jobs_base_job", jobs.c.base_job_id, sqlite_where=IS_BASED_ON_A_JOB, postgresql_where=IS_BASED_ON_A_JOB)
for _name, _condition in {
    "ix_jobs_live": IS_LIVE,
    "ix_jobs_behind_mlflow": IS_BEHIND_MLFLOW,
    "ix_jobs_behind_notifier": IS_BEHIND_NOTIFIER,
}.items():
    Index(_name, jobs.c.queue_seq, sqlite_where=_condition, postgresql_where=_condition)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("owner", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("body_sha256", String, nullable=False),
    # No foreign key: the key of a deleted job stays taken.
    Column("job_id", String, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    job_id_column(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("driver", String, nullable=False),
    Column("cpus", Integer, nullable=False),
    Column("gpus", Double, nullable=False),
    # GPUs by type, as far as it is known.
    Column("gpu_types", JSON, nullable=False),
    Column("placement", JSON, nullable=False),
    Column("placement_groups", JSON, nullable=False),
    Column("pids", JSON, nullable=False),
    # For each of the processes, the machine and the numbers of its GPUs there.
    Column("process_devices", JSON, nullable=False),
    Column("resumed_from_step", Integer),
    Column("created_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("reason", EnumText(ReasonCode)),
    Column("message", CleanText),
    Column("failure", JSON(none_as_null=True)),
    # When its device use was counted for its owner.
    Column("counted_at", UtcDateTime),
)
Index(
    "uq_attempts_live",
    attempts.c.job_id,
    unique=True,
    sqlite_where=attempts.c.ended_at.is_(None),
    postgresql_where=attempts.c.ended_at.is_(None),
)

IS_UNRELEASED = and_(
    attempts.c.ended_at.is_not(None), cast(attempts.c.placement_groups, String) != literal_column("'[]'")
)
"""Ended attempts whose placement groups have not been released."""

Index("ix_attempts_unreleased", attempts.c.job_id, sqlite_where=IS_UNRELEASED, postgresql_where=IS_UNRELEASED)

IS_UNCOUNTED = and_(attempts.c.ended_at.is_not(None), attempts.c.counted_at.is_(None))

Index("ix_attempts_uncounted", attempts.c.job_id, sqlite_where=IS_UNCOUNTED, postgresql_where=IS_UNCOUNTED)

events = Table(
    "events",
    metadata,
    job_id_column(),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", EnumText(EventKind), nullable=False),
    Column("data", JSON, nullable=False),
    # The owner of the job, and the place among the events of all jobs of this owner.
    Column("owner", String, nullable=False),
    Column("position", BigInteger, nullable=False),
)
Index("uq_events_owner", events.c.owner, events.c.position, unique=True)

metrics = Table(
    "metrics",
    metadata,
    job_id_column(),
    Column("name", String, primary_key=True),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("value", Double, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("attempt", Integer, nullable=False),
    # Small rows, always read by key: one B-tree instead of a table and an index.
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    job_id_column(),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("manifest_sha256", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("is_best", Boolean, nullable=False),
    Column("is_pinned", Boolean, nullable=False),
    # Set before the files are removed; the row goes after them.
    Column("deleting_at", UtcDateTime),
)

datasets = Table(
    "datasets",
    metadata,
    sequence("seq"),
    Column("id", String, nullable=False, unique=True),
    Column("owner", String, nullable=False),
    Column("name", String, nullable=False),
    Column("bucket", String, nullable=False),
    Column("format", String, nullable=False),
    Column("shape", String, nullable=False),
    Column("num_rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("canonical", String, nullable=False),
    Column("num_skipped", BigInteger, nullable=False),
    Column("column_mapping", JSON(none_as_null=True)),
    Column("confidence", Double, nullable=False),
    Column("compression", String),
    Column("problems", JSON, nullable=False),
    Column("fields", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
Index("ix_datasets_owner", datasets.c.owner, datasets.c.seq)
Index("ix_datasets_content", datasets.c.bucket, datasets.c.sha256)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("bucket", String, nullable=False),
    Column("filename", CleanText, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String),
    Column("received_bytes", BigInteger, nullable=False),
    Column("options", JSON, nullable=False),
    Column("dataset_id", String),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)
Index("ix_uploads_owner", uploads.c.owner)

content_claims = Table(
    "content_claims",
    metadata,
    Column("bucket", String, primary_key=True),
    Column("sha256", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

job_files = Table(
    "job_files",
    metadata,
    job_id_column(),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("dataset_id", String, nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
)
Index("ix_job_files_dataset", job_files.c.dataset_id)

models = Table(
    "models",
    metadata,
    sequence("seq"),
    Column("id", String, nullable=False, unique=True),
    Column("owner", String, nullable=False),
    job_id_column(primary_key=False),
    Column("name", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("base_model", String, nullable=False),
    Column("base_revision", String),
    Column("step", Integer, nullable=False),
    Column("path", String, nullable=False),
    Column("mlflow_version", String),
    Column("created_at", UtcDateTime, nullable=False),
    Column("is_pinned", Boolean, nullable=False, server_default=false()),
)
Index("ix_models_job", models.c.job_id, models.c.seq)

quotas = Table(
    "quotas",
    metadata,
    Column("owner", String, primary_key=True),
    Column("max_queued_jobs", Integer),
    Column("max_running_gpus", Double),
    Column("max_running_cpus", Integer),
    Column("max_disk_bytes", BigInteger),
    Column("max_upload_bytes", BigInteger),
    Column("weight", Double),
    Column("max_monthly_cost", DecimalText),
)

owner_usage = Table(
    "owner_usage",
    metadata,
    Column("owner", String, primary_key=True),
    Column("device_s", Double, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)


def columns_of(table: Table, record_class: type, **renamed: str) -> list[Column[Any]]:
    """The columns of a record in the order of its fields; `renamed` maps fields to columns of another name."""
    return [table.c[renamed.get(field.name, field.name)] for field in fields(record_class)]

"""The first tables."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "jobs",
    "idempotency_keys",
    "deleted_records",
    "attempts",
    "events",
    "event_logs",
    "metrics",
    "telemetry",
    "checkpoints",
    "datasets",
    "uploads",
    "content_claims",
    "job_files",
    "models",
    "openai_jobs",
    "job_metadata",
    "quotas",
    "templates",
    "owner_usage",
    "attempt_totals",
    "leases",
)


def upgrade() -> None:
    _create_jobs()
    _create_job_indexes()
    _create_attempts()
    _create_what_runs_leave()
    _create_datasets()
    _create_uploads()
    _create_openai_jobs()
    _create_records_of_owners()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _sequence(name: str) -> sa.Column[int]:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, number, primary_key=True, autoincrement=True)


def _key_number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), primary_key=True, autoincrement=False)


def _job_id(*, primary_key: bool = True) -> sa.Column[str]:
    return sa.Column("job_id", sa.String(), sa.ForeignKey("jobs.id"), primary_key=primary_key, nullable=False)


def _at(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _create_partial_index(
    name: str, table: str, columns: list[str | sa.ColumnElement[int]], where: str, *, unique: bool = False
) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        _sequence("queue_seq"),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("resolved_config", sa.String(), nullable=False),
        sa.Column("auto", sa.JSON(), nullable=False),
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("eval_dataset_id", sa.String()),
        sa.Column("base_job_id", sa.String()),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("queue_shift", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("live_attempt", sa.Integer()),
        sa.Column("retries_used", sa.Integer(), nullable=False),
        _at("not_before", nullable=True),
        sa.Column("waiting_for", sa.String()),
        sa.Column("data_findings", sa.String()),
        sa.Column("has_new_files", sa.Boolean(), nullable=False),
        sa.Column("stop_kind", sa.String()),
        sa.Column("resume_from", sa.String()),
        sa.Column("adjustments", sa.JSON(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("total_steps", sa.Integer()),
        sa.Column("epoch", sa.Double()),
        sa.Column("loss", sa.Double()),
        sa.Column("eval_loss", sa.Double()),
        sa.Column("eta_s", sa.Double()),
        sa.Column("phase", sa.String()),
        sa.Column("file", sa.Integer()),
        sa.Column("file_progress", sa.Double()),
        sa.Column("disk_bytes", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("mlflow_seq", sa.Integer(), nullable=False),
        sa.Column("mlflow_step", sa.Integer(), nullable=False),
        sa.Column("mlflow_eval_step", sa.Integer(), nullable=False),
        sa.Column("notified_seq", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("mlflow_run_id", sa.String()),
        sa.Column("mlflow_experiment_id", sa.String()),
        sa.Column("model_revision", sa.String()),
        sa.Column("estimated_time_s", sa.Double()),
        sa.Column("model_id", sa.String()),
        _at("created_at"),
        _at("started_at", nullable=True),
        _at("paused_at", nullable=True),
        _at("finished_at", nullable=True),
        _at("updated_at"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
    )
    op.create_table(
        "deleted_records",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        _at("deleted_at"),
        _at("files_removed_at", nullable=True),
    )
    _create_partial_index("ix_deleted_records_files", "deleted_records", ["id"], "files_removed_at IS NULL")


def _create_job_indexes() -> None:
    order: list[str | sa.ColumnElement[int]] = [sa.literal_column("priority DESC"), "queue_shift", "queue_seq"]
    _create_partial_index("ix_jobs_queue", "jobs", [*order, "status"], "status = 'queued'")
    _create_partial_index("ix_jobs_queue_by_owner", "jobs", ["owner", *order, "status"], "status = 'queued'")
    op.create_index("ix_jobs_owner", "jobs", ["owner", "queue_seq", "id"])
    op.create_index("ix_jobs_owner_name", "jobs", ["owner", "name", "queue_seq"])
    op.create_index("ix_jobs_owner_status", "jobs", ["owner", "status", "queue_seq"])
    _create_partial_index("ix_jobs_owner_disk", "jobs", ["owner", "disk_bytes"], "disk_bytes > 0")
    _create_partial_index("ix_jobs_base_job", "jobs", ["base_job_id"], "base_job_id IS NOT NULL")
    is_live = "status IN ('pending', 'initializing', 'running', 'pausing', 'cancelling')"
    _create_partial_index("ix_jobs_live", "jobs", ["queue_seq"], is_live)
    is_behind = "attempt > 0 AND last_seq > mlflow_seq"
    _create_partial_index("ix_jobs_behind_mlflow", "jobs", ["queue_seq"], is_behind)
    _create_partial_index("ix_jobs_behind_notifier", "jobs", ["queue_seq"], "last_seq > notified_seq")


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        _job_id(),
        _key_number("number"),
        sa.Column("driver", sa.String(), nullable=False),
        sa.Column("cpus", sa.Integer(), nullable=False),
        sa.Column("gpus", sa.Double(), nullable=False),
        sa.Column("gpu_types", sa.JSON(), nullable=False),
        sa.Column("placement", sa.JSON(), nullable=False),
        sa.Column("placement_groups", sa.JSON(), nullable=False),
        sa.Column("pids", sa.JSON(), nullable=False),
        sa.Column("process_devices", sa.JSON(), nullable=False),
        sa.Column("resumed_from_step", sa.Integer()),
        _at("created_at"),
        _at("heartbeat_at"),
        _at("ended_at", nullable=True),
        sa.Column("reason", sa.String()),
        sa.Column("message", sa.String()),
        sa.Column("failure", sa.JSON()),
        _at("counted_at", nullable=True),
    )
    _create_partial_index("uq_attempts_live", "attempts", ["job_id"], "ended_at IS NULL", unique=True)
    is_unreleased = "ended_at IS NOT NULL AND CAST(placement_groups AS VARCHAR) != '[]'"
    _create_partial_index("ix_attempts_unreleased", "attempts", ["job_id"], is_unreleased)
    is_uncounted = "ended_at IS NOT NULL AND counted_at IS NULL"
    _create_partial_index("ix_attempts_uncounted", "attempts", ["job_id"], is_uncounted)


def _create_what_runs_leave() -> None:
    op.create_table(
        "events",
        _job_id(),
        _key_number("seq"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _at("at"),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
    )
    op.create_index("uq_events_owner", "events", ["owner", "position"], unique=True)
    op.create_table(
        "metrics",
        _job_id(),
        sa.Column("name", sa.String(), primary_key=True),
        _key_number("step"),
        sa.Column("value", sa.Double(), nullable=False),
        _at("at"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "telemetry",
        sa.Column("job_id", sa.String(), primary_key=True),
        _key_number("attempt"),
        sa.Column("node", sa.String(), primary_key=True),
        sa.Column("device", sa.String(), primary_key=True),
        _key_number("interval_s"),
        sa.Column("begin_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_telemetry_age", "telemetry", ["interval_s", "begin_ms"])
    op.create_table(
        "checkpoints",
        _job_id(),
        _key_number("step"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        _at("created_at"),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("is_best", sa.Boolean(), nullable=False),
        sa.Column("is_pinned", sa.Boolean(), nullable=False),
        _at("deleting_at", nullable=True),
    )
    op.create_table(
        "models",
        _sequence("seq"),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("owner", sa.String(), nullable=False),
        _job_id(primary_key=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("base_revision", sa.String()),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("mlflow_version", sa.String()),
        _at("created_at"),
    )
    op.create_index("ix_models_job", "models", ["job_id", "seq"])


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        _sequence("seq"),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("bucket", sa.String(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("shape", sa.String(), nullable=False),
        sa.Column("num_rows", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("canonical", sa.String(), nullable=False),
        sa.Column("num_skipped", sa.BigInteger(), nullable=False),
        sa.Column("column_mapping", sa.JSON()),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("compression", sa.String()),
        sa.Column("problems", sa.JSON(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        _at("created_at"),
    )
    op.create_index("ix_datasets_owner", "datasets", ["owner", "seq"])
    op.create_index("ix_datasets_content", "datasets", ["bucket", "sha256"])
    op.create_table(
        "job_files",
        _job_id(),
        _key_number("position"),
        sa.Column("dataset_id", sa.String(), nullable=False),
        _at("added_at"),
    )
    op.create_index("ix_job_files_dataset", "job_files", ["dataset_id"])


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("bucket", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String()),
        sa.Column("received_bytes", sa.BigInteger(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("dataset_id", sa.String()),
        _at("created_at"),
        _at("updated_at"),
    )
    op.create_index("ix_uploads_owner", "uploads", ["owner"])
    op.create_table(
        "content_claims",
        sa.Column("bucket", sa.String(), primary_key=True),
        sa.Column("sha256", sa.String(), primary_key=True),
        sa.Column("holder", sa.String(), nullable=False),
        _at("expires_at"),
    )


def _create_openai_jobs() -> None:
    op.create_table(
        "openai_jobs",
        _job_id(),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("suffix", sa.String()),
        sa.Column("method", sa.JSON(), nullable=False),
        sa.Column("body_sha256", sa.String(), nullable=False),
        _at("created_at"),
    )
    op.create_index("ix_openai_jobs_body", "openai_jobs", ["owner", "body_sha256", "created_at"])
    op.create_table(
        "job_metadata",
        _job_id(),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )
    op.create_index("ix_job_metadata_value", "job_metadata", ["key", "value", "job_id"])


def _create_records_of_owners() -> None:
    op.create_table(
        "quotas",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("max_queued_jobs", sa.Integer()),
        sa.Column("max_running_gpus", sa.Double()),
        sa.Column("max_running_cpus", sa.Integer()),
        sa.Column("max_disk_bytes", sa.BigInteger()),
        sa.Column("max_upload_bytes", sa.BigInteger()),
        sa.Column("weight", sa.Double()),
    )
    op.create_table(
        "templates",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("text", sa.String(), nullable=False),
        _at("updated_at"),
    )
    op.create_table(
        "owner_usage",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("device_s", sa.Double(), nullable=False),
        _at("at"),
    )
    op.create_table(
        "attempt_totals",
        sa.Column("reason", sa.String(), primary_key=True),
        sa.Column("num_attempts", sa.BigInteger(), nullable=False),
        sa.Column("run_s", sa.Double(), nullable=False),
        sa.Column("cpu_s", sa.Double(), nullable=False),
        sa.Column("gpu_s", sa.Double(), nullable=False),
        sa.Column("num_waits", sa.BigInteger(), nullable=False),
        sa.Column("wait_s", sa.Double(), nullable=False),
    )
    op.create_table(
        "event_logs",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("last_position", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        _at("expires_at"),
    )

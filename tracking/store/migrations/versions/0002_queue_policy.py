"""Priorities, pauses, shares of GPUs, quotas and use by owner."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

IS_QUEUED = sa.text("status = 'queued'")
IS_BEHIND_MLFLOW = sa.text("attempt > 0 AND last_seq > mlflow_seq")
WAS_BEHIND_MLFLOW = sa.text("last_seq > mlflow_seq")
HAS_FILES = sa.text("disk_bytes > 0")
PRIORITY: sa.ColumnElement[int] = sa.literal_column("priority DESC")


def upgrade() -> None:
    _add_columns_to_jobs()
    op.execute("UPDATE jobs SET priority = 50 WHERE priority = 0")
    op.execute(
        "UPDATE jobs SET disk_bytes = ("
        "SELECT sum(size_bytes) FROM checkpoints WHERE checkpoints.job_id = jobs.id"
        ") WHERE id IN (SELECT job_id FROM checkpoints)"
    )
    op.drop_index("ix_jobs_queue", "jobs")
    _create_queue_index("ix_jobs_queue", [PRIORITY, "queue_shift", "queue_seq", "status"])
    _create_queue_index("ix_jobs_queue_by_owner", ["owner", PRIORITY, "queue_shift", "queue_seq", "status"])
    _replace_mlflow_index(IS_BEHIND_MLFLOW)
    op.create_index("ix_jobs_owner", "jobs", ["owner", "queue_seq", "id"])
    op.create_index("ix_jobs_owner_name", "jobs", ["owner", "name", "queue_seq"])
    op.create_index("ix_jobs_owner_status", "jobs", ["owner", "status", "queue_seq"])
    op.create_index(
        "ix_jobs_owner_disk", "jobs", ["owner", "disk_bytes"], sqlite_where=HAS_FILES, postgresql_where=HAS_FILES
    )
    _set_type_of_gpus(sa.Integer(), sa.Double())
    op.add_column("attempts", sa.Column("placement", sa.JSON(), server_default=sa.text("'[]'"), nullable=False))
    _create_quotas()
    _create_owner_usage()


def downgrade() -> None:
    op.drop_table("owner_usage")
    op.drop_table("quotas")
    op.drop_column("attempts", "placement")
    _set_type_of_gpus(sa.Double(), sa.Integer())
    for name in ("disk", "status", "name"):
        op.drop_index(f"ix_jobs_owner_{name}", "jobs")
    for name in ("ix_jobs_owner", "ix_jobs_queue_by_owner", "ix_jobs_queue"):
        op.drop_index(name, "jobs")
    _create_queue_index("ix_jobs_queue", [PRIORITY, "queue_seq"])
    _replace_mlflow_index(WAS_BEHIND_MLFLOW)
    op.execute("UPDATE jobs SET priority = 0")
    for name in ("disk_bytes", "waiting_for", "resume_from", "stop_kind", "paused_at", "queue_shift"):
        op.drop_column("jobs", name)


def _add_columns_to_jobs() -> None:
    """In place: other tables refer to `jobs`, so SQLite must not build it anew."""
    zero = sa.text("0")
    op.add_column("jobs", sa.Column("queue_shift", sa.Integer(), server_default=zero, nullable=False))
    op.add_column("jobs", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    for name in ("stop_kind", "resume_from", "waiting_for"):
        op.add_column("jobs", sa.Column(name, sa.String(), nullable=True))
    op.add_column("jobs", sa.Column("disk_bytes", sa.BigInteger(), server_default=zero, nullable=False))


def _create_queue_index(name: str, columns: list[str | sa.ColumnElement[int]]) -> None:
    op.create_index(name, "jobs", columns, sqlite_where=IS_QUEUED, postgresql_where=IS_QUEUED)


def _replace_mlflow_index(condition: sa.TextClause) -> None:
    name = "ix_jobs_behind_mlflow"
    op.drop_index(name, "jobs")
    op.create_index(name, "jobs", ["queue_seq"], sqlite_where=condition, postgresql_where=condition)


def _set_type_of_gpus(before: sa.types.TypeEngine[Any], after: sa.types.TypeEngine[Any]) -> None:
    with op.batch_alter_table("attempts") as batch:
        batch.alter_column("gpus", existing_type=before, type_=after, existing_nullable=False)


def _create_quotas() -> None:
    op.create_table(
        "quotas",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("max_queued_jobs", sa.Integer(), nullable=True),
        sa.Column("max_running_gpus", sa.Double(), nullable=True),
        sa.Column("max_running_cpus", sa.Integer(), nullable=True),
        sa.Column("max_disk_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_upload_bytes", sa.BigInteger(), nullable=True),
        sa.Column("weight", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_quotas")),
    )


def _create_owner_usage() -> None:
    op.create_table(
        "owner_usage",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("device_s", sa.Double(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_owner_usage")),
    )

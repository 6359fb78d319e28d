"""Sweeps, their trials, and the sweep of a job."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
IS_TRIAL = sa.text("sweep_id IS NOT NULL")
IS_AT_WORK = sa.text("is_settled = false")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("sweep_id", sa.String()))
    op.create_index(
        "ix_jobs_sweep", "jobs", ["sweep_id", "queue_seq"], sqlite_where=IS_TRIAL, postgresql_where=IS_TRIAL
    )
    op.create_table(
        "sweeps",
        sa.Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("whole", sa.JSON(), nullable=False),
        sa.Column("rungs", sa.JSON(), nullable=False),
        sa.Column("max_trials", sa.Integer(), nullable=False),
        sa.Column("auto", sa.JSON(), nullable=False),
        sa.Column("base_job_id", sa.String()),
        sa.Column("model_revision", sa.String()),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("is_settled", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.String()),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_sweeps_owner", "sweeps", ["owner", "seq"])
    op.create_index("ix_sweeps_key", "sweeps", ["owner", "idempotency_key"], unique=True)
    op.create_index("ix_sweeps_at_work", "sweeps", ["seq"], sqlite_where=IS_AT_WORK, postgresql_where=IS_AT_WORK)
    op.create_table(
        "sweep_trials",
        sa.Column("sweep_id", sa.String(), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("job_id", sa.String()),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("value", sa.Double()),
        sa.Column("rung_values", sa.JSON(), nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("is_held", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("message", sa.String()),
        sa.Column("run_time_s", sa.Double()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
    )


def downgrade() -> None:
    op.drop_table("sweep_trials")
    op.drop_table("sweeps")
    op.drop_index("ix_jobs_sweep", "jobs")
    op.drop_column("jobs", "sweep_id")

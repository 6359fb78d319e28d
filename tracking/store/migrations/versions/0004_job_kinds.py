"""The kind of each job, and the jobs whose files an evaluation reads."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("kind", sa.String(), nullable=False, server_default="training"))
    op.create_index("ix_jobs_owner_kind", "jobs", ["owner", "kind", "queue_seq"])
    op.create_table(
        "job_sources",
        sa.Column("job_id", sa.String(), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("source_job_id", sa.String(), primary_key=True),
    )
    op.create_index("ix_job_sources_source", "job_sources", ["source_job_id", "job_id"])


def downgrade() -> None:
    op.drop_table("job_sources")
    op.drop_index("ix_jobs_owner_kind", "jobs")
    op.drop_column("jobs", "kind")

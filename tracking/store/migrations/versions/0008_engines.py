"""Engines: the job that answers for a base model, and where it listens."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "engines",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer()),
        sa.Column("address", sa.String()),
        sa.Column("token", sa.String()),
    )
    op.create_index("ix_engines_job", "engines", ["job_id"])


def downgrade() -> None:
    op.drop_table("engines")

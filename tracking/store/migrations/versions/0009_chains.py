"""Chains: which jobs a job waits for."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chain_links",
        sa.Column("job_id", sa.String(), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("parent_id", sa.String(), primary_key=True),
        sa.Column("parent_attempt", sa.Integer()),
        sa.Column("model_id", sa.String()),
    )
    op.create_index("ix_chain_links_parent", "chain_links", ["parent_id", "job_id"])
    is_open = sa.text("parent_attempt IS NULL")
    op.create_index("ix_chain_links_open", "chain_links", ["job_id"], sqlite_where=is_open, postgresql_where=is_open)


def downgrade() -> None:
    op.drop_table("chain_links")

"""Each job's config with all defaults filled in, beside the one that was submitted."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("resolved_config", sa.String(), nullable=False, server_default=sa.text("'{}'")))
    op.execute("UPDATE jobs SET resolved_config = CAST(config AS VARCHAR)")


def downgrade() -> None:
    op.drop_column("jobs", "resolved_config")

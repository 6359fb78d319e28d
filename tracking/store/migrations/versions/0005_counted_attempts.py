"""When the use of devices by an attempt was counted for its owner."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

IS_UNCOUNTED = sa.text("ended_at IS NOT NULL AND counted_at IS NULL")


def upgrade() -> None:
    op.add_column("attempts", sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE attempts SET counted_at = ended_at")
    op.create_index(
        "ix_attempts_uncounted", "attempts", ["job_id"], sqlite_where=IS_UNCOUNTED, postgresql_where=IS_UNCOUNTED
    )


def downgrade() -> None:
    op.drop_index("ix_attempts_uncounted", "attempts")
    op.drop_column("attempts", "counted_at")

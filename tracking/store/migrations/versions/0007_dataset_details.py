"""How a dataset's file is compressed, and what was wrong with the rows that were left out."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("compression", sa.String(), nullable=True))
    op.add_column("datasets", sa.Column("problems", sa.JSON(), server_default=sa.text("'[]'"), nullable=False))


def downgrade() -> None:
    op.drop_column("datasets", "problems")
    op.drop_column("datasets", "compression")

"""Counts of uploaded bytes. The table is made again, as its rows are only those of the running processes."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("key_counts")
    _create_key_counts("upload_window", "num_upload_bytes")


def downgrade() -> None:
    op.drop_table("key_counts")
    _create_key_counts()


def _create_key_counts(*of_uploads: str) -> None:
    op.create_table(
        "key_counts",
        sa.Column("process", sa.String(), primary_key=True),
        sa.Column("key_id", sa.String(), primary_key=True),
        sa.Column("window", sa.BigInteger(), nullable=False),
        sa.Column("num_requests", sa.Integer(), nullable=False),
        sa.Column("num_streams", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in of_uploads),
        sa.Column("at", sa.Double(), nullable=False),
    )

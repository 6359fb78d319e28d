"""Folders of deleted models, which the next start removes where a deletion was interrupted."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deleted_records", sa.Column("folder", sa.String()))


def downgrade() -> None:
    op.drop_column("deleted_records", "folder")

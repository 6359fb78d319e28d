"""What the doctor said of a job's data once it was ready, which a coordinator that starts anew must know."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("data_findings", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "data_findings")

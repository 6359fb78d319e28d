"""Budgets of owners, and the warnings about them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("quotas", sa.Column("max_monthly_cost", sa.String()))
    op.create_table(
        "budget_warnings",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("month", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("percent", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("budget", sa.String(), primary_key=True),
    )


def downgrade() -> None:
    op.drop_table("budget_warnings")
    op.drop_column("quotas", "max_monthly_cost")

"""Notifications with their channels and outbox, and the records of costs."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = ("notifications", "channels", "deliveries", "cost_records")


def upgrade() -> None:
    _create_notifications()
    _create_cost_records()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _at(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _create_notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("job_id", sa.String()),
        sa.Column("job_name", sa.String()),
        sa.Column("event_seq", sa.Integer()),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("cause", sa.String()),
        _at("at"),
        _at("read_at", nullable=True),
    )
    op.create_index("ix_notifications_owner", "notifications", ["owner", "seq"])
    op.create_index("ix_notifications_event", "notifications", ["job_id", "event_seq"], unique=True)
    unread = sa.text("read_at IS NULL")
    op.create_index(
        "ix_notifications_unread", "notifications", ["owner", "seq"], sqlite_where=unread, postgresql_where=unread
    )
    op.create_table(
        "channels",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("secret", sa.String()),
        sa.Column("format", sa.String(), nullable=False, server_default="ftlab"),
        sa.Column("title", sa.String()),
        sa.Column("kinds", sa.JSON(), nullable=False),
        sa.Column("jobs", sa.JSON(), nullable=False),
        sa.Column("is_on", sa.Boolean(), nullable=False),
        sa.Column("num_failures", sa.Integer(), nullable=False),
        sa.Column("num_lost", sa.Integer(), nullable=False),
        _at("failing_since", nullable=True),
        sa.Column("last_error", sa.String()),
        _at("last_sent_at", nullable=True),
        _at("retry_at", nullable=True),
        _at("created_at"),
    )
    op.create_table(
        "deliveries",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("channel", sa.String(), primary_key=True),
        sa.Column("notification_seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("num_tries", sa.Integer(), nullable=False),
    )


def _create_cost_records() -> None:
    op.create_table(
        "cost_records",
        sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("job_name", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        _at("held_from"),
        _at("held_until"),
        sa.Column("devices", sa.JSON(), nullable=False),
        sa.Column("energy", sa.JSON()),
        sa.Column("amount", sa.String()),
        sa.Column("currency", sa.String()),
    )
    op.create_index("ix_cost_records_attempt", "cost_records", ["job_id", "attempt"], unique=True)
    op.create_index("ix_cost_records_owner", "cost_records", ["owner", "held_until"])

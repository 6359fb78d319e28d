"""Users, API keys, sessions of the web app, the audit log, and the counts of requests."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = ("users", "api_keys", "sessions", "audit_entries", "key_counts")


def upgrade() -> None:
    _create_users_and_keys()
    _create_audit_log()
    _create_key_counts()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _at(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _create_users_and_keys() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(), primary_key=True),
        _at("created_at"),
        _at("disabled_at", nullable=True),
    )
    op.create_table(
        "api_keys",
        sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        _at("created_at"),
        _at("expires_at", nullable=True),
        _at("revoked_at", nullable=True),
        _at("last_used_at", nullable=True),
    )
    op.create_index("ix_api_keys_owner", "api_keys", ["owner", "seq"])
    op.create_table(
        "sessions",
        sa.Column("hash", sa.String(), primary_key=True),
        sa.Column("key_id", sa.String(), nullable=False),
        _at("created_at"),
        _at("expires_at"),
    )
    op.create_index("ix_sessions_expiry", "sessions", ["expires_at"])


def _create_audit_log() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        _at("at"),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("key_id", sa.String()),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("address", sa.String()),
        sa.Column("request_id", sa.String()),
    )
    op.create_index("ix_audit_entries_user", "audit_entries", ["user", "seq"])


def _create_key_counts() -> None:
    op.create_table(
        "key_counts",
        sa.Column("process", sa.String(), primary_key=True),
        sa.Column("key_id", sa.String(), primary_key=True),
        sa.Column("window", sa.BigInteger(), nullable=False),
        sa.Column("num_requests", sa.Integer(), nullable=False),
        sa.Column("num_streams", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
    )

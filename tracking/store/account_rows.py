"""The tables of users, their keys and sessions, and of the audit log."""

from sqlalchemy import JSON, BigInteger, Column, Double, Index, Integer, String, Table

from tracking.store.column_types import CleanText, UtcDateTime
from tracking.store.rows import metadata, sequence

users = Table(
    "users",
    metadata,
    Column("name", String, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),
)

api_keys = Table(
    "api_keys",
    metadata,
    sequence("seq"),
    Column("id", String, nullable=False, unique=True),
    Column("owner", String, nullable=False),
    Column("name", CleanText, nullable=False),
    # SHA-256 of the whole key. Its secret has 200 random bits, so that nothing slower is needed.
    Column("hash", String, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
)
Index("ix_api_keys_owner", api_keys.c.owner, api_keys.c.seq)

sessions = Table(
    "sessions",
    metadata,
    # SHA-256 of what the browser sends.
    Column("hash", String, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)
Index("ix_sessions_expiry", sessions.c.expires_at)

audit_entries = Table(
    "audit_entries",
    metadata,
    sequence("seq"),
    Column("id", String, nullable=False, unique=True),
    Column("at", UtcDateTime, nullable=False),
    Column("user", String, nullable=False),
    Column("key_id", String),
    Column("owner", String, nullable=False),
    Column("action", String, nullable=False),
    Column("path", CleanText, nullable=False),
    Column("status", Integer, nullable=False),
    Column("address", String),
    Column("request_id", String),
)
Index("ix_audit_entries_user", audit_entries.c.user, audit_entries.c.seq)

key_counts = Table(
    "key_counts",
    metadata,
    Column("process", String, primary_key=True),
    Column("key_id", String, primary_key=True),
    Column("window", BigInteger, nullable=False),
    Column("num_requests", Integer, nullable=False),
    Column("num_streams", Integer, nullable=False),
    Column("upload_window", BigInteger, nullable=False),
    Column("num_upload_bytes", BigInteger, nullable=False),
    # Seconds since 1970.
    Column("at", Double, nullable=False),
)

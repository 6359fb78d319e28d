"""The table of deleted records."""

from sqlalchemy import BigInteger, Column, Index, String, Table

from tracking.store.column_types import UtcDateTime
from tracking.store.rows import metadata

deleted_records = Table(
    "deleted_records",
    metadata,
    Column("id", String, primary_key=True),
    # The name of the table that it was in.
    Column("kind", String, nullable=False),
    Column("owner", String, nullable=False),
    # Its place in the list of its kind, so that a page after it can still be read.
    Column("seq", BigInteger, nullable=False),
    Column("deleted_at", UtcDateTime, nullable=False),
    # When its folder, below that of all jobs, was removed. `NULL` is the folder of a job, which has its id as its name.
    Column("files_removed_at", UtcDateTime),
    Column("folder", String),
    # That of a sweep, which stays taken. Those of jobs are among `idempotency_keys`.
    Column("idempotency_key", String),
)
LEAVES_FILES = deleted_records.c.files_removed_at.is_(None)
"""Deleted records whose files may still exist."""
HAS_KEY = deleted_records.c.idempotency_key.is_not(None)

Index("ix_deleted_records_files", deleted_records.c.id, sqlite_where=LEAVES_FILES, postgresql_where=LEAVES_FILES)
Index(
    "ix_deleted_records_key",
    deleted_records.c.owner,
    deleted_records.c.idempotency_key,
    sqlite_where=HAS_KEY,
    postgresql_where=HAS_KEY,
)

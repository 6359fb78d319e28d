"""The table of the templates that owners saved."""

from sqlalchemy import Column, String, Table

from tracking.store.column_types import UtcDateTime
from tracking.store.rows import metadata

templates = Table(
    "templates",
    metadata,
    Column("owner", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("text", String, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

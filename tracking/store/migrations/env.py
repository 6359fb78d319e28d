"""Alembic runs this file. `tracking.store.migrate` hands the connection in."""

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator

from tracking.store.rows import metadata


def render_plain_type(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A migration spells what the database sees; it must not change when our column types do."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_item=render_plain_type,
)
context.run_migrations()

"""Paging by key: the last id of a page is the cursor of the next one, so a page costs the same at any depth.

A cursor outlives its record, so that a caller can delete the records of a list while reading it page by page.
"""

from typing import Any

from sqlalchemy import Column, Connection, Select, Table, select

from ftlab.errors import MalformedRequestError
from tracking.store.deleted_rows import deleted_records


def newest_first(
    connection: Connection,
    statement: Select[Any],
    table: Table,
    key: Column[int],
    *,
    owner: str | None,
    after: str | None,
    limit: int,
    oldest_first: bool = False,
) -> Select[Any]:
    """Narrow `statement` to the page after the row whose id is `after`; with `oldest_first` in the other direction.

    Raises `MalformedRequestError` (code `invalid_cursor`) when the owner has, and had, no such row.
    """
    if owner is not None:
        statement = statement.where(table.c.owner == owner)
    if after is not None:
        cursor = select(key).where(table.c.id == after)
        if owner is not None:
            cursor = cursor.where(table.c.owner == owner)
        start = connection.execute(cursor).scalar_one_or_none()
        if start is None:
            start = _start_after_deleted(connection, table, owner, after)
        statement = statement.where(key > start if oldest_first else key < start)
    return statement.order_by(key.asc() if oldest_first else key.desc()).limit(limit)


def _start_after_deleted(connection: Connection, table: Table, owner: str | None, record_id: str) -> int:
    former = select(deleted_records.c.seq).where(
        deleted_records.c.id == record_id, deleted_records.c.kind == table.name
    )
    if owner is not None:
        former = former.where(deleted_records.c.owner == owner)
    start: int | None = connection.execute(former).scalar_one_or_none()
    if start is None:
        raise invalid_cursor()
    return start


def invalid_cursor() -> MalformedRequestError:
    return MalformedRequestError("`after` is not the id of an item of this list.", "invalid_cursor", "after")

"""Paging by key: the last id of a page is the cursor of the next one, so a page costs the same at any depth."""

from typing import Any

from sqlalchemy import Column, Connection, Select, Table, select

from ftlab.errors import MalformedRequestError


def newest_first(
    connection: Connection,
    statement: Select[Any],
    table: Table,
    key: Column[int],
    *,
    owner: str | None,
    after: str | None,
    limit: int,
) -> Select[Any]:
    """Narrow `statement` to the page after the row whose id is `after`.

    Raises `MalformedRequestError` (code `invalid_cursor`) when the owner has no such row.
    """
    if owner is not None:
        statement = statement.where(table.c.owner == owner)
    if after is not None:
        cursor = select(key).where(table.c.id == after)
        if owner is not None:
            cursor = cursor.where(table.c.owner == owner)
        start = connection.execute(cursor).scalar_one_or_none()
        if start is None:
            raise invalid_cursor()
        statement = statement.where(key < start)
    return statement.order_by(key.desc()).limit(limit)


def invalid_cursor() -> MalformedRequestError:
    return MalformedRequestError("`after` is not the id of an item of this list.", "invalid_cursor", "after")

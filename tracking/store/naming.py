"""Look a record up by what a person types: its id, its name, or the beginning of its id."""

from collections.abc import Sequence

from sqlalchemy import Column, ColumnElement, Connection, Table, func, or_, select

from ftlab.errors import ConflictError, NotFoundError

NUM_CANDIDATES = 5
"""Ids listed in the error about an ambiguous name."""


def find_key(
    connection: Connection, table: Table, key: Column[int], text: str, *, owner: str, kind: str, prefix: str = ""
) -> int:
    """The `key` of the owner's record whose id is `text`, else of the one with this name.

    `kind` is the word for the record. With `prefix`, which begins every id, the beginning of an id is enough. Raises
    `NotFoundError`, or `ConflictError` (code `ambiguous`) that lists the ids when several records match.
    """
    newest = select(key, table.c.id).where(table.c.owner == owner).order_by(key.desc()).limit(NUM_CANDIDATES + 1)
    for condition in _conditions(table, text, prefix):
        found = connection.execute(newest.where(condition)).all()
        if len(found) > 1:
            raise _ambiguous(text, kind, [row.id for row in found])
        if found:
            number: int = found[0][0]
            return number
    raise not_found(kind, text)


def not_found(kind: str, text: str) -> NotFoundError:
    """The error for an id or a name that no record of this kind has."""
    return NotFoundError(f"There is no {kind} {text!r}.", f"{kind}_not_found", f"{kind}_id")


def _conditions(table: Table, text: str, prefix: str) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [table.c.id == text, table.c.name == text]
    if prefix:
        starts = (text, f"{prefix}-{text}")
        conditions.append(or_(*(func.substr(table.c.id, 1, len(start)) == start for start in starts)))
    return conditions


def _ambiguous(text: str, kind: str, ids: Sequence[str]) -> ConflictError:
    shown = ", ".join(ids[:NUM_CANDIDATES]) + (", ..." if len(ids) > NUM_CANDIDATES else "")
    return ConflictError(f"{text!r} matches several {kind}s: {shown}. Give one id.", "ambiguous", f"{kind}_id")

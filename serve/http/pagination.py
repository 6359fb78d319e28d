"""Lists that page by key: a page is asked for with one item too many, which says whether more follow."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from ftlab.schemas import Page


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=_HasId)


def to_page(items: Sequence[Item], limit: int) -> "Page[Item]":
    """The page of up to `limit` out of up to `limit + 1` items."""
    shown = list(items[:limit])
    has_more = len(items) > limit
    return Page(data=shown, has_more=has_more, next_cursor=shown[-1].id if has_more else None)

"""Bases of the wire types: strict for what comes in, lenient for what goes back."""

import difflib
from typing import Annotated, Generic, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints


class StrictModel(BaseModel):
    """A request body: unknown keys and wrong types are refused, infinities and NaN too."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class WireModel(BaseModel):
    """A reply: keys that a later service added are kept, never refused."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @classmethod
    def of(cls, record: object, **computed: object) -> Self:
        """The reply with the record's attributes of the same names; `computed` replaces or adds values."""
        values = {name: getattr(record, name) for name in cls.model_fields if hasattr(record, name)}
        return cls.model_validate(values | computed)


Item = TypeVar("Item")


class Page(WireModel, Generic[Item]):
    """One page of a list. `next_cursor` goes into `after` of the next request; `None` ends the list."""

    data: list[Item]
    has_more: bool
    next_cursor: str | None = None


def _refuse_control_characters(value: object) -> object:
    if isinstance(value, str) and any(ord(char) < 32 or 0xD800 <= ord(char) <= 0xDFFF for char in value):
        raise ValueError("must not hold control characters or lone surrogates")
    return value


Name = Annotated[str, BeforeValidator(_refuse_control_characters), StringConstraints(min_length=1, max_length=200)]
"""A display name: up to 200 printable characters. It is never used as a path."""


def did_you_mean(word: str, known: list[str]) -> str:
    """`" Did you mean 'learning_rate'?"` when one known word is close, else an empty string."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""

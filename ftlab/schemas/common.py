"""Bases of the wire types: strict for what comes in, lenient for what goes back."""

import difflib
import unicodedata
from typing import Annotated, Any, Generic, Self, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError
from pydantic._internal._model_construction import ModelMetaclass

from ftlab.errors import InvalidRequestError

DEFAULT_PRIORITY = 50
"""Priority of a job that names none; the highest is 100."""


class _StrictMeta(ModelMetaclass):
    """Gives the error of a model that is built in Python the class and the words of this package.

    Only a direct call comes here: pydantic validates documents without one.
    """

    def __call__(cls, *args: Any, **fields: Any) -> Any:
        try:
            return super().__call__(*args, **fields)
        except ValidationError as error:
            from ftlab.schemas.problems import problems_of, summary

            problems = problems_of(error, cast("type[BaseModel]", cls))
        message = f"{cls.__name__}: {summary(problems)}"
        raise InvalidRequestError(message, "invalid_config", problems[0].field or None)


class StrictModel(BaseModel, metaclass=_StrictMeta):
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


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of invisible characters: controls, formats (zero width, text direction), surrogates, breaks."""


def _refuse_unseen_characters(value: object) -> object:
    if isinstance(value, str):
        unseen = next((char for char in value[:1000] if unicodedata.category(char) in _UNSEEN), None)
        if unseen is not None:
            raise ValueError(f"must not contain invisible or direction-changing characters; it has U+{ord(unseen):04X}")
    return value


Name = Annotated[str, BeforeValidator(_refuse_unseen_characters), StringConstraints(min_length=1, max_length=200)]
"""A display name: up to 200 visible characters. It is never used as a path."""


def named_by_type(value: object) -> object:
    """The group of settings that a name alone stands for: that of this `type`, with the defaults."""
    return {"type": value} if isinstance(value, str) else value


def did_you_mean(word: str, known: list[str]) -> str:
    """`" Did you mean 'learning_rate'?"` when one known word is close, else an empty string."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""

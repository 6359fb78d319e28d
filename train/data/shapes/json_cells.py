"""Lists and objects, which the cell of a table holds as JSON text."""

import json
import math
from typing import Any

from train.data.formats.json_text import decode_whole
from train.data.rows.errors import RowError, Rule

MAX_DEPTH = 64
"""Maximum nesting of `tools` and `tool_calls`, so that every later reader and chat template can process them."""


def objects(value: object, where: str) -> list[dict[str, Any]]:
    """A list of objects, not nested deeper than `MAX_DEPTH`; raise `RowError`."""
    value = from_json_text(value, where)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowError(Rule.WRONG_TYPE, f"{where} is not a list of objects.")
    _check_json(value, MAX_DEPTH, where)
    return value


def from_json_text(value: object, where: str) -> object:
    """The value of JSON in a text, which tables have in place of lists; anything else unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return decode_named(value, where)
    except json.JSONDecodeError as error:
        raise RowError(Rule.BROKEN_JSON, f"{where} is broken JSON at character {error.pos + 1}.") from None


def decode_named(text: str, where: str) -> Any:
    """The value of a JSON text; raise `json.JSONDecodeError`, or `RowError` naming `where` for an unusable value."""
    try:
        return decode_whole(text)
    except RowError as error:
        raise RowError(error.rule, f"{where}: {error.message}") from None


def _check_json(value: object, levels: int, where: str) -> None:
    """Refuse what JSON cannot hold, or what is nested more than `levels` deep."""
    if isinstance(value, list | dict):
        if not levels:
            raise RowError(Rule.TOO_DEEP, f"{where} is nested more than {MAX_DEPTH} levels deep.")
        for item in value.values() if isinstance(value, dict) else value:
            _check_json(item, levels - 1, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise RowError(Rule.NON_FINITE_NUMBER, f"{where} holds NaN or Infinity.")
    elif not isinstance(value, str | int | float | None):
        raise RowError(Rule.WRONG_TYPE, f"{where} contains a value that JSON cannot represent.")

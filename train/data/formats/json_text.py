"""Strict JSON: RFC 8259, without NaN, infinities, lone surrogates, repeated keys and excessive nesting."""

import json
import math
import re
from typing import Any

from train.data.rows.errors import RowError, Rule, shown_name

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SPACES = frozenset(" \t\r\n")
_SPACE = re.compile(r"[ \t\r\n]*")


def decode_at(text: str, position: int) -> tuple[Any, int]:
    """The value that starts at `position`, and where it ends.

    Raise `json.JSONDecodeError` for broken text, `RowError` for JSON that cannot be used.
    """
    try:
        value, end = _DECODER.raw_decode(text, position)
        if _SURROGATE_ESCAPE.search(text, position, end):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError:
        raise
    except UnicodeEncodeError:
        raise RowError(Rule.LONE_SURROGATE, "A text holds half of a surrogate pair.") from None
    except ValueError:
        # Python refuses to read integers of more than 4,300 digits.
        raise RowError(Rule.BROKEN_JSON, "A number has too many digits.") from None
    except RecursionError:
        raise RowError(Rule.TOO_DEEP, "The row is nested too deeply.") from None
    return value, end


def decode_whole(text: str) -> Any:
    """The one value that `text` holds; raise as `decode_at`."""
    value, end = decode_at(text, skip_space(text, 0))
    rest = skip_space(text, end)
    if rest < len(text):
        raise json.JSONDecodeError("Extra data", text, rest)
    return value


def skip_space(text: str, position: int) -> int:
    """The first position from `position` on that holds no JSON white space."""
    if text[position : position + 1] not in _SPACES:
        return position
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise RowError(Rule.NON_FINITE_NUMBER, "A number is too large.")
    return number


def _refuse_constant(_: str) -> float:
    raise RowError(Rule.NON_FINITE_NUMBER, "NaN and Infinity are not valid in JSON.")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                name = shown_name(key)
                raise RowError(Rule.REPEATED_KEY, f"The key {name} appears more than once in an object; keep one.")
            seen.add(key)
    return found


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)

"""pydantic's kinds of errors in our own words: the rule that a value broke, and the number that was given."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

MAX_NUMBER_CHARS = 24
"""A longer number is left out of a message."""

WRONG_TAG = "union_tag_invalid"
"""The `type` of a group of settings names none of the kinds that the group can have."""

_RULES: dict[str, str] = {
    "missing": "is required",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "decimal_max_digits": "must have at most {max_digits} digits",
    "decimal_max_places": "must have at most {decimal_places} decimals",
    "decimal_whole_digits": "must have at most {whole_digits} digits before the decimals",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of at most 64 bits",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "date_type": "must be a date, such as 2026-11-29",
    "date_parsing": "must be a date, such as 2026-11-29",
    "date_from_datetime_parsing": "must be a date, such as 2026-11-29",
    "date_from_datetime_inexact": "must be a date, such as 2026-11-29",
    "datetime_type": "must be a time with a time zone, such as 2026-11-29T12:00:00Z",
    "datetime_parsing": "must be a time with a time zone, such as 2026-11-29T12:00:00Z",
    "datetime_from_date_parsing": "must be a time with a time zone, such as 2026-11-29T12:00:00Z",
    "timezone_aware": "must be a time with a time zone, such as 2026-11-29T12:00:00Z",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode text",
    "string_too_short": "must have at least {at_least}",
    "string_too_long": "must have at most {at_most}",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "path_type": "must be a path",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of names to values",
    "too_short": "must have at least {at_least}",
    "too_long": "must have at most {at_most}",
    "model_type": "must be a group of settings",
    "model_attributes_type": "must be a group of settings",
    WRONG_TAG: "must be {expected_tags}",
    "union_tag_not_found": "must have the field {discriminator}",
}
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "int_from_float")
_LENGTHS = ("string_too_short", "string_too_long", "too_short", "too_long")
KIND_ERRORS = frozenset(kind for kind in _RULES if kind.endswith("_type")) | {"literal_error", "enum"}
"""The value does not have the type of the field, so that another type of a union may still fit."""


def broken_rule(entry: ErrorDetails) -> str:
    """What a field must be, to follow its name: `must be at most 100, not 101`.

    The value itself may be long or secret: only numbers out of range and lengths are repeated.
    """
    kind, value = entry["type"], entry["input"]
    context: Mapping[str, Any] = entry.get("ctx") or {}
    if kind == "value_error":
        return str(context["error"])
    rule = _RULES.get(kind)
    if rule is None:
        return "is not valid"
    if kind in _LENGTHS:
        noun = "character" if isinstance(value, str) else "item"
        counts = {
            "at_least": _count(context.get("min_length"), noun),
            "at_most": _count(context.get("max_length"), noun),
        }
        return rule.format(**counts) + _given(len(value) if isinstance(value, str) else context.get("actual_length"))
    if kind == WRONG_TAG:
        *others, last = str(context["expected_tags"]).split(", ")
        return rule.format(expected_tags=f"{', '.join(others)} or {last}")
    if kind == "literal_error" and context["expected"] in ("True", "False"):
        return rule.format(expected=context["expected"].lower())
    is_number = kind in _BOUNDS or (kind == "int_type" and isinstance(value, float))
    return rule.format(**context) + (_given(value) if is_number else "")


def _given(number: object) -> str:
    text = str(number)
    return f", not {text}" if number is not None and len(text) <= MAX_NUMBER_CHARS else ""


def _count(number: int | None, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

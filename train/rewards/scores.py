"""Scores of single answers, from 0 to 1. They raise nothing, whatever a model writes."""

import json
import re
from decimal import Decimal
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from train.rewards.patterns import (
    MATCH_TIMEOUT_S,
    PATTERN_KEYWORDS,
    check_patterns,
    found_in,
    patterns_within,
    without_dialects,
)

MAX_NUMBER_CHARS = 100
"""Longer numbers are ignored: their conversion would take long, and no reference answer has them."""

MINUS_SIGN = "\u2212"
"""Written by some models in place of a hyphen."""

_TimedValidator = extend(Draft202012Validator, PATTERN_KEYWORDS)
_NUMBER = re.compile(
    r"(?:(?<![\w.])[-+\u2212])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d{1,3})?"
)


def exact_match(answer: str, reference: str, *, strip: bool, ignore_case: bool) -> float:
    """Whether the answer is the reference, up to white space and case where that is allowed."""
    if strip:
        answer, reference = answer.strip(), reference.strip()
    if ignore_case:
        answer, reference = answer.casefold(), reference.casefold()
    return float(answer == reference)


def matches(answer: str, pattern: str, *, full_match: bool) -> float:
    """Whether the pattern matches the answer, or a part of it."""
    try:
        return float(found_in(answer, pattern, full_match=full_match))
    except TimeoutError:
        return 0.0


def numeric_match(answer: str, reference: str, tolerance: float) -> float:
    """Whether the last numbers of both texts differ by at most `tolerance`; 0 where one of them has no number."""
    given, expected = last_number(answer), last_number(reference)
    if given is None or expected is None:
        return 0.0
    return float(abs(given - expected) <= Decimal(str(tolerance)))


def last_number(text: str) -> Decimal | None:
    """The last number of a text, such as `-1,234.5`, `.5` or `2e3`; `None` where it has none."""
    found = numbers_in(text)
    if not found or len(found[-1]) > MAX_NUMBER_CHARS:
        return None
    return Decimal(found[-1].replace(",", "").replace(MINUS_SIGN, "-"))


def numbers_in(text: str) -> list[str]:
    """The numbers of a text, as they are written."""
    return [match[0] for match in _NUMBER.finditer(text) if any(char.isdigit() for char in match[0])]


def follows_schema(answer: str, validator: Validator | None) -> float:
    """Whether the answer is JSON that the schema accepts. NaN and infinities are not JSON.

    An answer on which the regular expressions of the schema take too long together is not accepted.
    """
    try:
        value = json.loads(answer, parse_constant=_refuse_constant)
        if validator is not None:
            with patterns_within(MATCH_TIMEOUT_S):
                validator.validate(value)
    except (ValueError, ArithmeticError, RecursionError, ValidationError, Unresolvable, TimeoutError):
        return 0.0
    return 1.0


def schema_validator(schema: dict[str, Any]) -> Validator:
    """The validator of a JSON Schema, which loads no other document. Raise `ValueError` for an invalid schema."""
    try:
        Draft202012Validator.check_schema(schema)
        check_patterns(schema)
    except (SchemaError, RecursionError) as error:
        message = error.message if isinstance(error, SchemaError) else "it is nested too deep"
        raise ValueError(message) from None
    validator: Validator = _TimedValidator(without_dialects(schema), registry=Registry())
    return validator


def length_score(length: int, lowest: int, highest: int) -> float:
    """1 within the range; below it the share of `lowest`, above it falling to 0 at twice `highest`."""
    if length < lowest:
        return length / lowest
    return max(0.0, 1.0 - max(0, length - highest) / highest)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")

"""Scores of single answers, from 0 to 1. They raise nothing, whatever a model writes."""

import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

MATCH_TIMEOUT_S = 1.0
"""Time after which a regular expression counts as not matching: some take exponential time."""
MAX_NUMBER_CHARS = 100
"""Longer numbers are ignored: their conversion would take long, and no reference answer has them."""

MINUS_SIGN = "\u2212"
"""Written by some models in place of a hyphen."""

_NUMBER = re.compile(
    r"(?:(?<![\w.])[-+\u2212])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d{1,3})?"
)

_PART = re.compile(
    r"\(\?\#[^)]*\)"  # a comment
    r"|\\N\{[^}]*\}|\\."  # an escape
    r"|\[\^?\]?(?:\\.|[^\]\\])*\]"  # a set
    r"|\{(?!\})[0-9]*(?:,[0-9]*)?\}"  # a quantifier
    r"|\{",
    re.DOTALL,
)
"""Parts of a regular expression in which braces and brackets have a meaning, and a brace that has none."""
_PART_OF_VERBOSE = re.compile(r"\#[^\n]*|" + _PART.pattern, re.DOTALL)


def exact_match(answer: str, reference: str, *, strip: bool, ignore_case: bool) -> float:
    """Whether the answer is the reference, up to white space and case where that is allowed."""
    if strip:
        answer, reference = answer.strip(), reference.strip()
    if ignore_case:
        answer, reference = answer.casefold(), reference.casefold()
    return float(answer == reference)


def matches(answer: str, pattern: str, *, full_match: bool) -> float:
    """Whether the pattern matches the answer, or a part of it."""
    find = regex.fullmatch if full_match else regex.search
    try:
        return float(find(_for_regex(pattern), answer, timeout=MATCH_TIMEOUT_S) is not None)
    except TimeoutError:
        return 0.0


@lru_cache(maxsize=256)
def _for_regex(pattern: str) -> str:
    """The pattern as the library `regex` must get it, to match what Python's `re` does.

    `regex` has a time limit, but it reads `{e}` behind a group as leave to match approximately, and refuses
    `\\frac{d}{dx}`, where `re` takes braces that are no quantifier for themselves, as it does brackets within a set.
    """
    is_verbose = re.compile(pattern).flags & re.VERBOSE
    return (_PART_OF_VERBOSE if is_verbose else _PART).sub(_escaped, pattern)


def _escaped(part: re.Match[str]) -> str:
    found = part[0]
    if found == "{":
        return r"\{"
    if found.startswith("["):
        return "[" + re.sub(
            r"\\.|\[", lambda inner: inner[0] if len(inner[0]) > 1 else r"\[", found[1:], flags=re.DOTALL
        )
    return found


def numeric_match(answer: str, reference: str, tolerance: float) -> float:
    """Whether the last numbers of both texts differ by at most `tolerance`; 0 where one of them has no number."""
    given, expected = last_number(answer), last_number(reference)
    if given is None or expected is None:
        return 0.0
    return float(abs(given - expected) <= Decimal(str(tolerance)))


def last_number(text: str) -> Decimal | None:
    """The last number of a text, such as `-1,234.5`, `.5` or `2e3`; `None` where it has none."""
    found = None
    for match in _NUMBER.finditer(text):
        if any(char.isdigit() for char in match[0]):
            found = match[0]
    if found is None or len(found) > MAX_NUMBER_CHARS:
        return None
    return Decimal(found.replace(",", "").replace(MINUS_SIGN, "-"))


def follows_schema(answer: str, validator: Draft202012Validator | None) -> float:
    """Whether the answer is JSON that the schema accepts. NaN and infinities are not JSON."""
    try:
        value = json.loads(answer, parse_constant=_refuse_constant)
        if validator is not None:
            validator.validate(value)
    except (ValueError, ArithmeticError, RecursionError, ValidationError, Unresolvable):
        return 0.0
    return 1.0


def schema_validator(schema: dict[str, Any]) -> Draft202012Validator:
    """The validator of a JSON Schema, which loads no other document. Raise `ValueError` for an invalid schema."""
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        message = error.message if isinstance(error, SchemaError) else "it is nested too deep"
        raise ValueError(message) from None
    return Draft202012Validator(schema, registry=Registry())


def length_score(length: int, lowest: int, highest: int) -> float:
    """1 within the range; below it the share of `lowest`, above it falling to 0 at twice `highest`."""
    if length < lowest:
        return length / lowest
    return max(0.0, 1.0 - max(0, length - highest) / highest)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")

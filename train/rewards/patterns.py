"""Regular expressions with a time limit, alone and in JSON Schemas: some take exponential time on some answers."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import regex
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator

MATCH_TIMEOUT_S = 1.0
"""Time after which a regular expression counts as not matching, and a JSON Schema as not followed."""
_DATA = ("const", "enum", "default", "examples")
_MAPS = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
"""Keywords of JSON Schema with schemas by names that may be those of keywords."""
_ends_at: ContextVar[float] = ContextVar("ends_at")

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


@contextmanager
def patterns_within(seconds: float) -> Iterator[None]:
    """Let all matches in this block take so long together; then they raise `TimeoutError`."""
    token = _ends_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


def found_in(text: str, pattern: str, *, full_match: bool = False) -> bool:
    """Whether the pattern, as Python's `re` reads it, matches the text or a part of it. Raise `TimeoutError`."""
    left_s = _ends_at.get(time.monotonic() + MATCH_TIMEOUT_S) - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    find = regex.fullmatch if full_match else regex.search
    return find(_for_regex(pattern), text, timeout=left_s) is not None


def check_patterns(schema: Any) -> None:
    """Raise `ValueError` for a JSON Schema whose regular expressions could not be matched with a time limit."""
    keywords: set[str] = set()
    level = [schema]
    while level:
        for each in filter(lambda value: isinstance(value, dict), level):
            keywords |= each.keys()
            for pattern in [each.get("pattern"), *_keys(each.get("patternProperties"))]:
                _check(pattern)
        level = [child for value in level for child in _children(value)]
    if {"patternProperties", "unevaluatedProperties"} <= keywords:
        raise ValueError("'patternProperties' and 'unevaluatedProperties' cannot be combined; use additionalProperties")


def without_dialects(schema: Any) -> Any:
    """A JSON Schema without `$schema`, by which `jsonschema` would choose a validator without a time limit."""
    if isinstance(schema, list):
        return [without_dialects(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in _DATA and not isinstance(value, dict) else without_dialects(value)
        for key, value in schema.items()
        if key != "$schema" or not isinstance(value, str)
    }


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


def _check(pattern: Any) -> None:
    if isinstance(pattern, str):
        try:
            regex.compile(_for_regex(pattern))
        except (re.error, regex.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{pattern!r} is not a regular expression ({error})") from None


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _children(value: Any) -> list[Any]:
    """The schemas within one, and other values, but none of those that are data."""
    if not isinstance(value, dict):
        return value if isinstance(value, list) else []
    named = [each for key in _MAPS if isinstance(value.get(key), dict) for each in value[key].values()]
    return named + [child for key, child in value.items() if key not in _DATA and key not in _MAPS]


def _pattern(validator: Validator, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not found_in(instance, pattern):
        yield ValidationError("does not match")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _: Any
) -> Iterator[ValidationError]:
    for pattern, schema in patterns.items() if isinstance(instance, dict) else ():
        for key, value in instance.items():
            if found_in(key, pattern):
                yield from validator.descend(value, schema)


def _additional_properties(
    validator: Any, additional: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for key, value in instance.items() if isinstance(instance, dict) else ():
        if key not in known and not any(found_in(key, pattern) for pattern in patterns):
            yield from validator.descend(value, additional)


PATTERN_KEYWORDS = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}
"""The keywords of JSON Schema that match regular expressions, for `jsonschema.validators.extend`."""

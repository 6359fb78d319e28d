"""Scores of single answers, among them answers that nobody would write on purpose."""

import json
import re
import time
import warnings
from decimal import Decimal

import pytest
from jsonschema import Draft202012Validator

from train.rewards.scores import (
    MATCH_TIMEOUT_S,
    exact_match,
    follows_schema,
    last_number,
    length_score,
    matches,
    numeric_match,
    schema_validator,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.mark.parametrize(
    ("answer", "reference", "strip", "ignore_case", "score"),
    [
        ("Paris", "Paris", True, False, 1.0),
        (" Paris\n", "Paris", True, False, 1.0),
        (" Paris", "Paris", False, False, 0.0),
        ("paris", "Paris", True, False, 0.0),
        ("paris", "Paris", True, True, 1.0),
        ("STRASSE", "straße", True, True, 1.0),
        ("東京", "東京", False, False, 1.0),
        ("", "Paris", True, True, 0.0),
    ],
)
def test_exact_match(answer: str, reference: str, strip: bool, ignore_case: bool, score: float) -> None:
    assert exact_match(answer, reference, strip=strip, ignore_case=ignore_case) == score


@pytest.mark.parametrize(
    ("answer", "pattern", "full_match", "score"),
    [
        ("the answer is 42", r"\d+", False, 1.0),
        ("the answer is 42", r"\d+", True, 0.0),
        ("42", r"\d+", True, 1.0),
        ("<think>a\nb</think>", r"<think>.*</think>", False, 0.0),
        ("<think>a\nb</think>", r"(?s)<think>.*</think>", True, 1.0),
        ("é", r"^\w$", False, 1.0),
        ("", r".", False, 0.0),
    ],
)
def test_regular_expression(answer: str, pattern: str, full_match: bool, score: float) -> None:
    assert matches(answer, pattern, full_match=full_match) == score


@pytest.mark.parametrize(
    "pattern",
    [
        r"\\frac{d}{dx}",
        "x{e}",
        "(foo){i<=3}bar",
        r"\{e}",
        "[]{e}[]+",
        "[[:alpha:]]",
        "x{}|x{2}|z{,2}y",
        r"\N{DIGIT ONE}{s}",
        r"[\]{]x(?#{[)",
        "(?x) x {e} # [",
    ],
)
def test_a_regular_expression_means_what_it_means_in_python(pattern: str) -> None:
    """The library that stops after a time limit has a language of its own, in which `{e}` allows any errors."""
    texts = [r"\frac{d}{dx}", r"\fra{dx}", "x{e}", "zzz", "foobar", "fooxxbar", "foo{i<=3}bar", "{e}", "a", ":]", "x{}"]
    texts += ["xx", "yy", "{", "]x", "{x", "1{s}", "1", ""]
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        expected = [float(re.search(pattern, text) is not None) for text in texts]
        assert [matches(text, pattern, full_match=False) for text in texts] == expected


def test_a_regular_expression_that_takes_exponential_time_is_stopped() -> None:
    began = time.monotonic()
    assert matches("a" * 60 + "b", r"(a|a)*$|(a+)+c", full_match=False) == 0.0
    assert time.monotonic() - began < 20 * MATCH_TIMEOUT_S


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7 plus 5 is 12.", 12.0),
        ("-1,234.5 dollars", -1234.5),
        ("x=.5", 0.5),
        ("about \u22127", -7.0),
        ("2e3", 2000.0),
        ("from 3-5", 5.0),
        ("1,2345", 2345.0),
        ("\\boxed{42}", 42.0),
        ("١٢", 12.0),
        ("1e999", Decimal("1e999")),
        ("no number - . ,", None),
        ("NaN", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_the_last_number_of_a_text(text: str, number: float | Decimal | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("answer", "reference", "tolerance", "score"),
    [
        ("It is 12.0", "#### 12", 0.0, 1.0),
        ("It is 12.2", "12", 0.1, 0.0),
        ("It is 12.05", "12", 0.1, 1.0),
        ("It is 1.1", "1.0", 0.1, 1.0),
        ("12345678901234567891", "12345678901234567890", 0.0, 0.0),
        ("1e999", "1e998", 1.0, 0.0),
        ("1e999", "1e999", 0.0, 1.0),
        ("1e999", "-1e999", 1e9, 0.0),
        ("twelve", "12", 1e9, 0.0),
        ("12", "twelve", 1e9, 0.0),
    ],
)
def test_numeric_answer(answer: str, reference: str, tolerance: float, score: float) -> None:
    assert numeric_match(answer, reference, tolerance) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"name": "Ada", "tags": [{"deep": {"deeper": 1}}]}', 1.0),
        ('{"name": "Zoë"}', 1.0),
        ('{"name": 7}', 0.0),
        ("{}", 0.0),
        ("[]", 0.0),
        ('{"name": "Ada"} and more', 0.0),
        ("", 0.0),
        ("[" * 100_000, 0.0),
    ],
)
def test_json_against_a_schema(answer: str, score: float) -> None:
    assert follows_schema(answer, schema_validator(NAME)) == score


def test_numbers_of_any_size_have_a_score() -> None:
    schema = schema_validator({"multipleOf": 0.5})
    assert [follows_schema(answer, schema) for answer in ("1.5", "1" + "0" * 400, "1e999")] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "score"), [("[1, null]", 1.0), ("NaN", 0.0), ("[Infinity]", 0.0), ("{'a': 1}", 0.0)]
)
def test_json_without_a_schema(answer: str, score: float) -> None:
    assert follows_schema(answer, None) == score


def test_a_schema_never_loads_another_document() -> None:
    schema = schema_validator({"$ref": "http://localhost:1/schema.json"})
    assert follows_schema("{}", schema) == 0.0


@pytest.mark.parametrize("schema", [{"type": "strnig"}, {"required": "name"}, {"minimum": "1"}])
def test_an_invalid_schema_is_refused(schema: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"strnig|not of type"):
        schema_validator(schema)


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"items": {"pattern": r"(a|a)*$|(a+)+c"}}, ["a" * 60 + "b"] * 30),
        ({"patternProperties": {r"(a|a)*$|(a+)+c": False}}, {"a" * 60 + "b": 1}),
        ({"additionalProperties": False, "patternProperties": {r"(a+)+c": True}}, {"a" * 60 + "b": 1}),
        ({"propertyNames": {"pattern": r"(a|a)*$|(a+)+c"}}, {"a" * 60 + "b": 1}),
        ({"$schema": DIALECT, "items": {"$ref": "#"}, "pattern": r"(a|a)*$|(a+)+c"}, [["a" * 60 + "b"]]),
    ],
)
def test_patterns_of_a_schema_that_take_exponential_time_are_stopped(schema: dict[str, object], answer: object) -> None:
    began = time.monotonic()
    assert follows_schema(json.dumps(answer), schema_validator(schema)) == 0.0
    assert time.monotonic() - began < 20 * MATCH_TIMEOUT_S


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^a{d}|b"},
        {"patternProperties": {"^n": {"type": "integer"}, "b$": {"minimum": 3}}},
        {"properties": {"nb": True}, "patternProperties": {"^n": True}, "additionalProperties": False},
        {"properties": {"x": True}, "patternProperties": {"^n": True}, "additionalProperties": {"type": "string"}},
        {"additionalProperties": {"type": "integer"}},
        {"const": {"pattern": "("}},
        {"$schema": DIALECT, "properties": {"$schema": {"type": "string"}, "default": {"pattern": "^s"}}},
    ],
)
def test_a_schema_means_what_it_means_to_the_library(schema: dict[str, object]) -> None:
    validator = schema_validator(schema)
    answers = ["a{d}", "b", "c", 4, [], {}, {"nb": 4}, {"nb": 2}, {"nb": "4"}, {"x": 1}, {"x": "s"}, {"n": 1, "y": "s"}]
    answers += [{"$schema": 1}, {"$schema": "s"}, {"default": "s"}, {"default": "t"}]
    expected = [float(Draft202012Validator(schema).is_valid(answer)) for answer in answers]
    assert [follows_schema(json.dumps(answer), validator) for answer in answers] == expected


def test_a_schema_whose_patterns_have_no_time_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be combined"):
        schema_validator({"allOf": [{"patternProperties": {"a": True}}], "unevaluatedProperties": False})


@pytest.mark.parametrize(
    ("length", "score"), [(0, 0.0), (5, 0.5), (10, 1.0), (20, 1.0), (25, 0.75), (40, 0.0), (10_000, 0.0)]
)
def test_length(length: int, score: float) -> None:
    assert length_score(length, 10, 20) == score


def test_a_length_without_a_minimum() -> None:
    assert length_score(0, 0, 1) == 1.0

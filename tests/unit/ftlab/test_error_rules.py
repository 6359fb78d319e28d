"""Every error that the schemas can produce has a sentence of our own."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

import ftlab.schemas.requests  # noqa: F401  (its models are part of the walk)
from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from ftlab.schemas.common import StrictModel
from ftlab.schemas.error_rules import broken_rule
from ftlab.schemas.problems import first_problem, problems_of
from ftlab.settings import Settings, load_settings

PYDANTIC_WORDS = re.compile(
    r"(Input|Value|String|List|Dictionary|Tuple|Set|Object|Field|Keys|Data|Decimal|URL|UUID) "
    r"(should|error|is|required|must)|Unable to|Extra inputs|Assertion|NoneType|<class|type=|function-|literal\["
)
SECRET = "canary"
WRONG_VALUES: list[Any] = [
    *(None, True, -1, 0, 3, 1.5, -0.5, 10**6, 10**30, 1e300, float("nan"), float("inf")),
    *("", "x", SECRET * 2000, "a\u200bb", "0", "1.5", "maybe"),
    *([], [SECRET], [1], ["x"] * 2000, [""], {}, {SECRET: 1}, {"x": ""}, {"": "", "Big": "s3://x"}, [[]], [{}]),
]


def models() -> list[type[BaseModel]]:
    """All models of requests, those of nested groups included."""
    found: list[type[BaseModel]] = []
    waiting: list[type[BaseModel]] = [StrictModel]
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        found += [model] if model.model_fields and model.__module__.startswith("ftlab.") else []
    return [*found, Settings]


def refused(model: type[BaseModel]) -> Iterator[ValidationError]:
    """The errors of a document with one wrong value, for every field and value."""
    for name in [*model.model_fields, "no_such_setting"]:
        for value in WRONG_VALUES:
            try:
                if model is Settings:
                    model.model_validate({name: value})
                else:
                    model.model_validate_json(json.dumps({name: value}))
            except ValidationError as error:
                yield error


def assert_is_ours(sentence: str) -> None:
    assert not PYDANTIC_WORDS.search(sentence), sentence
    assert "is not valid" not in sentence, sentence
    assert SECRET not in sentence or "is not a known setting" in sentence, sentence
    assert len(sentence) < 400, sentence


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_error_of_a_model_is_a_sentence_of_ours(model: type[BaseModel]):
    num_sentences = 0
    for error in refused(model):
        entries = error.errors(include_url=False)
        problems = problems_of(error, model)
        assert first_problem(entries, model) in problems
        rules = [broken_rule(entry) for entry in entries if entry["type"] != "extra_forbidden"]
        for sentence in [*map(str, problems), *rules]:
            assert_is_ours(sentence)
            num_sentences += 1
    assert num_sentences > len(model.model_fields)


def test_the_walk_reaches_every_constraint_of_the_schemas():
    kinds = {entry["type"] for model in models() for error in refused(model) for entry in error.errors()}
    assert kinds >= {
        *("missing", "extra_forbidden", "value_error", "literal_error", "string_pattern_mismatch", "finite_number"),
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "too_short", "too_long"),
        *("string_too_short", "string_too_long", "model_type", "list_type", "int_type", "bool_type", "float_type"),
        *("int_parsing", "bool_parsing", "float_parsing", "path_type", "dict_type", "tuple_type", "int_from_float"),
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"priority": 101}, "priority must be at most 100, not 101"),
        ({"priority": 1.5}, "priority must be a whole number, not 1.5"),
        (
            {"training": {"per_device_train_batch_size": 1.5}},
            "training.per_device_train_batch_size must be a whole number or 'auto', not 1.5",
        ),
        ({"training": {"seed": 10**30}}, "training.seed must be at most 4294967295"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate must be greater than 0.0, not 0"),
        ({"name": ""}, "name must have at least 1 character, not 0"),
        ({"name": "x" * 300}, "name must have at most 200 characters, not 300"),
        ({"register_as": True}, "register_as must be false or a string"),
        ({"lora": {"target_modules": 3}}, "lora.target_modules must be 'auto' or 'all-linear' or a list"),
        ({"lora": {"target_modules": [3]}}, "lora.target_modules.0 must be a string"),
        ({"dataset": []}, "dataset must have at least 1 item, not 0"),
    ],
)
def test_it_names_field_and_bound_and_the_number_that_was_given(change: dict[str, Any], sentence: str):
    with pytest.raises(ValidationError) as caught:
        JobConfig.model_validate_json(json.dumps({"model": "org/name", "dataset": "ds-1"} | change))
    assert [str(problem) for problem in problems_of(caught.value, JobConfig)] == [sentence]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FTLAB_PORT", "70000", "Setting 'port' must be at most 65535, not 70000."),
        ("FTLAB_PORT", "x", "Setting 'port' must be a whole number."),
        ("FTLAB_STANDBY", "maybe", "Setting 'standby' must be true or false."),
        ("FTLAB_INGRESS", "nginx", "Setting 'ingress' must be 'haproxy' or 'python'."),
        ("FTLAB_BUCKETS", '{"a": 1}', "Setting 'buckets.a' must be a string."),
    ],
)
def test_a_wrong_setting_is_named_with_its_bound(tmp_path, variable: str, value: str, message: str):
    with pytest.raises(InvalidRequestError) as caught:
        load_settings(environ={variable: value}, folder=tmp_path)
    assert caught.value.message == message


def test_a_kind_of_error_without_a_rule_is_still_ours():
    entry = ErrorDetails(type="unheard_of", loc=("x",), msg="Input should be Python", input=SECRET)
    assert broken_rule(entry) == "is not valid"

"""Job files: YAML 1.2 scalars, and errors in one line."""

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas.job_file import parse_job_config, read_yaml, short_document

MINIMAL = {"model": "org/name", "dataset": "ds-1"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        (".inf", float("inf")),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        ("'1'", "1"),
        ("~", None),
        ("", None),
    ],
)
def test_scalars_are_what_they_look_like(text, value):
    assert read_yaml(f"key: {text}", "x") == {"key": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "job.yaml, line 1, column 6: expected ',' or ']'"),
        ("a: 1\nb: 2\na: 3", "job.yaml, line 3, column 1: key 'a' is given twice."),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("--- 1\n--- 2", "line 2"),
        ("? [a]\n: b", "unhashable key"),
        ("a: *b", "undefined alias 'b'"),
        ("a: \0", "special characters are not allowed"),
    ],
)
def test_what_is_not_one_plain_document_is_refused_in_one_line(text, message):
    with pytest.raises(InvalidRequestError) as caught:
        read_yaml(text, "job.yaml")
    assert message in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("text", ["lora: &a {r: *a}", "lora: &a [*a]", "!!binary aGk=: 1", "!!timestamp 2026-01-01: 1"])
def test_what_json_cannot_hold_is_refused(text):
    with pytest.raises(InvalidRequestError) as caught:
        parse_job_config(read_yaml(text, "job.yaml") | MINIMAL, "job.yaml")
    assert caught.value.message.startswith("job.yaml ")
    assert caught.value.code == "invalid_yaml"


@pytest.mark.parametrize(
    ("document", "message", "param"),
    [
        (
            {"training": {"learning_rte": 1}},
            "job.yaml: training.learning_rte is not a known setting. Did you mean 'learning_rate'?",
            "training.learning_rte",
        ),
        (
            {"learning_rate": 1},
            "job.yaml: learning_rate is not a known setting. Did you mean 'training.learning_rate'?",
            "learning_rate",
        ),
        ({"zzz": 1}, "job.yaml: zzz is not a known setting.", "zzz"),
        (
            {"training": {"learning_rate": 7}},
            "job.yaml: training.learning_rate must be at most 1.0, not 7.",
            "training.learning_rate",
        ),
        (
            {"training": {"max_steps": True}},
            "job.yaml: training.max_steps must be a whole number.",
            "training.max_steps",
        ),
        (
            {"training": {"learning_rate": float("nan")}},
            "job.yaml: training.learning_rate must be a finite number.",
            "training.learning_rate",
        ),
        ({"training": 5}, "job.yaml: training must be a group of settings.", "training"),
        (
            {"tuning": "qlora"},
            "job.yaml: tuning must be 'lora' or 'full'; for QLoRA, keep 'lora' and set load_in_4bit: true.",
            "tuning",
        ),
        (
            {"lora": {"target_modules": []}},
            "job.yaml: lora.target_modules must have at least 1 item, not 0.",
            "lora.target_modules",
        ),
        (
            {"name": "a\nb"},
            "job.yaml: name must not contain invisible or direction-changing characters; it has U+000A.",
            "name",
        ),
        (
            {"training": {"bf16": True, "fp16": True}},
            "job.yaml: training.bf16 and training.fp16 cannot be combined; set one of them.",
            "training",
        ),
        ({"model": None}, "job.yaml: model must be a string.", "model"),
    ],
)
def test_errors_name_the_field_and_what_it_must_be(document, message, param):
    with pytest.raises(InvalidRequestError) as caught:
        parse_job_config(MINIMAL | document, "job.yaml")
    assert caught.value.message == message
    assert caught.value.param == param


def test_several_errors_come_together_and_the_rest_is_counted():
    with pytest.raises(InvalidRequestError) as caught:
        parse_job_config({"modl": "a", "lora": {"r": 0}, "max_retries": -1}, "job.yaml")
    assert caught.value.message == (
        "job.yaml: modl is not a known setting. Did you mean 'model'?"
        " model is required; dataset is required; and 2 more."
    )


@pytest.mark.parametrize("document", [None, [], "text", 5])
def test_a_config_is_a_mapping(document):
    with pytest.raises(InvalidRequestError, match="mapping"):
        parse_job_config(document)


def test_a_short_document_of_rewards_is_the_same_config():
    rewards = [
        {"type": "exact_match", "ignore_case": True},
        {"type": "numeric_answer"},
        {"type": "length", "max_length": 5, "weight": 0.5},
        {"type": "python_file", "path": "/srv/style.py"},
    ]
    method = {"type": "grpo", "rewards": rewards}
    config = parse_job_config({"model": "org/m", "dataset": "ds-1", "method": method})
    document = short_document(config)
    assert document["method"] == method
    assert parse_job_config(document) == config

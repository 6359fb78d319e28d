"""Changes of a job's config: how they are given, what differs, and the way back."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from ftlab.schemas.adjustments import AdjustedBy, Adjustment, Change
from ftlab.schemas.config_changes import adjusted, changes_between, undone

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PLAIN: dict[str, Any] = {"model": "org/name", "dataset": "ds-1"}


def config(document: dict[str, Any]) -> JobConfig:
    return JobConfig.model_validate(document)


def adjust(document: dict[str, Any], changes: dict[str, Any]) -> tuple[dict[str, Any], Adjustment]:
    """The document after the changes, as the service keeps it, and the record of the change."""
    after = config(adjusted(document, changes)).model_dump(mode="json")
    found = changes_between(config(document), config(after))
    return after, Adjustment(at=NOW, by=AdjustedBy.USER, attempt=1, changes=found)


@pytest.mark.parametrize(
    "given",
    [
        {"training.learning_rate": 1e-4, "training.warmup_steps": 5, "time_limit_s": 600},
        {"training": {"learning_rate": 1e-4, "warmup_steps": 5}, "time_limit_s": 600},
        {"training.learning_rate": 1e-4, "training": {"warmup_steps": 5}, "time_limit_s": 600},
    ],
)
def test_a_setting_is_given_by_its_path_or_within_its_group(given: dict[str, Any]):
    document = adjusted(PLAIN | {"training": {"max_steps": 9}}, given)
    assert document == PLAIN | {
        "training": {"max_steps": 9, "learning_rate": 1e-4, "warmup_steps": 5},
        "time_limit_s": 600,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"training.seed": 1, "training": {"seed": 2}}, "two values for training.seed"),
        ({"training": {"seed": 2}, "training.seed": 1}, "two values for training.seed"),
        ({"training": 5, "training.seed": 1}, "two values for training;"),
        ({"": 1}, "not the path of a setting"),
        ({"training": {"": 1}}, "not the path of a setting"),
        ({"training..seed": 1}, "not the path of a setting"),
        ({".".join("a" * 3000): 1}, "not the path of a setting"),
    ],
)
def test_adjustments_that_name_no_setting_or_name_one_twice_are_refused(given: dict[str, Any], message: str):
    with pytest.raises(InvalidRequestError, match=message):
        adjusted(PLAIN, given)


def test_the_same_value_twice_is_no_contradiction():
    assert adjusted({}, {"training.seed": 1, "training": {"seed": 1}}) == {"training": {"seed": 1}}


def test_a_default_that_depends_on_other_settings_is_named_by_its_value():
    _, adjustment = adjust(PLAIN, {"training.learning_rate": 1e-4, "load_in_4bit": True})
    assert adjustment.changes == [
        Change(field="load_in_4bit", from_=False, to=True),
        Change(field="training.learning_rate", from_=2e-4, to=1e-4),
    ]
    assert adjustment.sentence == "load_in_4bit false -> true, training.learning_rate 0.0002 -> 0.0001"


def test_another_method_is_one_change_of_its_group():
    _, adjustment = adjust(PLAIN, {"method": {"type": "dpo"}})
    assert [change.field for change in adjustment.changes] == ["method", "training.learning_rate"]
    assert adjustment.sentence.startswith("method sft -> dpo, ")


def test_the_changes_are_undone_newest_first():
    submitted = PLAIN | {"method": {"type": "sft", "max_length": 512}}
    document, first = adjust(submitted, {"method.max_length": 256, "training.max_steps": 5})
    document, second = adjust(document, {"method": {"type": "dpo", "beta": 0.2}, "training.max_steps": None})
    document, third = adjust(document, {"method.beta": 0.3, "eval_split": 0.1})
    back = config(undone(document, [first, second, third]))
    assert back.resolved() == config(submitted).resolved()


def test_it_survives_the_wire():
    _, adjustment = adjust(PLAIN, {"training.max_steps": 3})
    document = adjustment.model_dump(mode="json")
    assert document["changes"] == [{"field": "training.max_steps", "from": None, "to": 3}]
    assert Adjustment.model_validate(document) == adjustment


def test_a_list_is_shown_as_json():
    grpo = PLAIN | {"method": {"type": "grpo", "rewards": [{"type": "exact_match"}]}}
    _, adjustment = adjust(grpo, {"method.rewards": [{"type": "length", "max_length": 5}]})
    assert '-> [{"type": "length", "weight": 1.0, "min_length": 0,' in adjustment.sentence

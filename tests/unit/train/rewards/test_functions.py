"""The rewards of a job as TRL calls them."""

from typing import Any

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas import GrpoMethod
from train.rewards import RewardFunction, checked_rewards, reward_functions


def method(*rewards: dict[str, Any]) -> GrpoMethod:
    return GrpoMethod.model_validate({"type": "grpo", "rewards": list(rewards)})


def scores(reward: dict[str, Any], answers: list[str], references: list[str | None]) -> list[float]:
    [function] = reward_functions(method(reward))
    ids = [list(range(len(answer) // 2)) for answer in answers]
    return function(completions=answers, completion_ids=ids, reference=references, prompts=[], trainer_state=None)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ({"type": "exact_match", "ignore_case": True}, [1.0, 0.0]),
        ({"type": "regex", "pattern": "[0-9]"}, [0.0, 1.0]),
        ({"type": "numeric_answer"}, [0.0, 0.0]),
        ({"type": "json_schema"}, [0.0, 1.0]),
        ({"type": "length", "min_length": 4, "max_length": 4, "unit": "characters"}, [1.0, 0.25]),
        ({"type": "length", "min_length": 2, "max_length": 2}, [1.0, 0.0]),
    ],
)
def test_every_reward_scores_every_answer(reward: dict[str, Any], expected: list[float]) -> None:
    assert scores(reward, ["yes!", "7"], ["Yes!", None]) == expected


def test_the_token_that_ends_an_answer_is_no_part_of_its_length() -> None:
    [function] = reward_functions(method({"type": "length", "min_length": 2, "max_length": 2}))
    assert isinstance(function, RewardFunction)
    function.ends_with({9})
    answers = [[1, 2, 9], [1, 2], [1, 9], [9], []]
    assert function(completions=[""] * 5, completion_ids=answers, reference=[None] * 5) == [1.0, 1.0, 0.5, 0.0, 0.0]


def test_rewards_of_one_type_have_names_of_their_own() -> None:
    patterns = [{"type": "regex", "pattern": pattern} for pattern in ("a", "b")]
    names = [function.__name__ for function in reward_functions(method(*patterns, {"type": "json_schema"}))]
    assert names == ["regex", "regex_2", "json_schema"]


def test_a_schema_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidRequestError, match="is not a valid JSON Schema") as refused:
        checked_rewards(method({"type": "json_schema"}, {"type": "json_schema", "definition": {"type": "strnig"}}), [])
    assert refused.value.param == "method.rewards.1.definition"

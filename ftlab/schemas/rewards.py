"""Rewards of reinforcement learning: scores of a generated answer, each with a weight."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ftlab.schemas.answer_scores import AnswerScore, ExactMatch, JsonSchema, NumericAnswer, PythonFile, Regex
from ftlab.schemas.common import named_by_type


class RewardConfig(AnswerScore):
    """Settings that every reward has."""

    weight: float = Field(default=1.0, ge=-1000.0, le=1000.0)
    """Factor of this reward in the sum of all rewards; a negative one penalises."""


class ExactMatchReward(ExactMatch, RewardConfig):
    """1 where the answer equals the reference answer, else 0."""


class RegexReward(Regex, RewardConfig):
    """1 where the answer matches a regular expression, else 0. A match that takes longer than a second is none."""


class NumericAnswerReward(NumericAnswer, RewardConfig):
    """1 where the last number of the answer equals that of the reference answer, else 0."""


class JsonSchemaReward(JsonSchema, RewardConfig):
    """1 where the answer is valid JSON and follows the schema, else 0."""


class LengthReward(RewardConfig):
    """1 where the length of the answer is in a range. Outside, it falls linearly: to 0 for an empty answer, and for one
    of twice the maximum."""

    type: Literal["length"] = "length"
    min_length: int = Field(default=0, ge=0, le=1_048_576)
    max_length: int = Field(ge=1, le=1_048_576)
    unit: Literal["tokens", "characters"] = "tokens"

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length ({self.min_length}) must not be above max_length ({self.max_length})")
        return self


class PythonFileReward(PythonFile, RewardConfig):
    """Whatever a function in a Python file returns. The settings of the service list the files that may be used."""


REWARD_TYPES: dict[str, type[RewardConfig]] = {
    reward.model_fields["type"].default: reward
    for reward in (
        ExactMatchReward,
        RegexReward,
        NumericAnswerReward,
        JsonSchemaReward,
        LengthReward,
        PythonFileReward,
    )
}
"""The rewards by their type."""

Reward = Annotated[
    ExactMatchReward | RegexReward | NumericAnswerReward | JsonSchemaReward | LengthReward | PythonFileReward,
    Field(discriminator="type"),
]
"""Any reward; `type` says which."""
NamedReward = Annotated[Reward, BeforeValidator(named_by_type)]
"""A reward; its type alone stands for the reward with the default settings."""

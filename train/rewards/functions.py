"""The reward functions of a job as TRL calls them, and their check before submission."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, assert_never

from ftlab.errors import InvalidRequestError
from ftlab.schemas.methods import GrpoMethod
from ftlab.schemas.rewards import (
    ExactMatchReward,
    JsonSchemaReward,
    LengthReward,
    NumericAnswerReward,
    RegexReward,
    Reward,
)
from train.rewards.scores import (
    exact_match,
    follows_schema,
    length_score,
    matches,
    numeric_match,
    schema_validator,
)


class RewardFunction:
    """One reward of a job. `__name__` is its name in the metrics of TRL: the type, numbered where it repeats."""

    def __init__(self, config: Reward, name: str) -> None:
        self.__name__ = name
        self._config = config
        schema = config.definition if isinstance(config, JsonSchemaReward) else None
        self._validator = None if schema is None else schema_validator(schema)

    def __call__(
        self,
        *,
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        reference: Sequence[str | None],
        **_: Any,
    ) -> list[float]:
        """The reward of each answer, from its text, its tokens, and the reference answer of its row."""
        rows = zip(completions, completion_ids, reference, strict=True)
        return [self._score(answer, len(ids), expected or "") for answer, ids, expected in rows]

    def _score(self, answer: str, num_tokens: int, reference: str) -> float:
        config = self._config
        match config:
            case ExactMatchReward():
                return exact_match(answer, reference, strip=config.strip, ignore_case=config.ignore_case)
            case RegexReward():
                return matches(answer, config.pattern, full_match=config.full_match)
            case NumericAnswerReward():
                return numeric_match(answer, reference, config.tolerance)
            case JsonSchemaReward():
                return follows_schema(answer, self._validator)
            case LengthReward():
                length = num_tokens if config.unit == "tokens" else len(answer)
                return length_score(length, config.min_length, config.max_length)
        assert_never(config)


def reward_functions(method: GrpoMethod) -> list[RewardFunction]:
    """The functions of the job's rewards, in their order."""
    seen: Counter[str] = Counter()
    functions = []
    for reward in method.rewards:
        seen[reward.type] += 1
        number = f"_{seen[reward.type]}" if seen[reward.type] > 1 else ""
        functions.append(RewardFunction(reward, reward.type + number))
    return functions


def check_rewards(method: GrpoMethod) -> None:
    """Raise `InvalidRequestError` for a reward that cannot be computed."""
    for number, reward in enumerate(method.rewards):
        if not isinstance(reward, JsonSchemaReward) or reward.definition is None:
            continue
        try:
            schema_validator(reward.definition)
        except ValueError as error:
            field = f"method.rewards.{number}.definition"
            raise InvalidRequestError(
                f"{field} is not a valid JSON Schema: {error}.", "invalid_config", field
            ) from None

"""The reward functions of a job as TRL calls them, and their check at submission."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar, assert_never

from ftlab.errors import InvalidRequestError
from ftlab.schemas.answer_scores import ExactMatch, JsonSchema, NumericAnswer, PythonFile, Regex
from ftlab.schemas.methods import GrpoMethod
from ftlab.schemas.rewards import LengthReward
from train.rewards.python_file import FileReward, checked
from train.rewards.scores import (
    exact_match,
    follows_schema,
    length_score,
    matches,
    numeric_match,
    schema_validator,
)

BuiltInScore = ExactMatch | Regex | NumericAnswer | JsonSchema | LengthReward


ScoreT = TypeVar("ScoreT")


class RewardFunction:
    """One built-in reward of a job, or metric of an evaluation. `__name__` is its name in the metrics of TRL."""

    def __init__(self, config: BuiltInScore, name: str) -> None:
        self.__name__ = name
        self._config = config
        self._ends: Collection[int] = ()
        schema = config.definition if isinstance(config, JsonSchema) else None
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
        return [self._score(answer, self._length(ids), expected or "") for answer, ids, expected in rows]

    def ends_with(self, tokens: Collection[int]) -> None:
        """Name the tokens that end an answer, which are no part of it."""
        self._ends = tokens

    def _length(self, ids: Sequence[int]) -> int:
        return len(ids) - (len(ids) > 0 and ids[-1] in self._ends)

    def _score(self, answer: str, num_tokens: int, reference: str) -> float:
        config = self._config
        match config:
            case ExactMatch():
                return exact_match(answer, reference, strip=config.strip, ignore_case=config.ignore_case)
            case Regex():
                return matches(answer, config.pattern, full_match=config.full_match)
            case NumericAnswer():
                return numeric_match(answer, reference, config.tolerance)
            case JsonSchema():
                return follows_schema(answer, self._validator)
            case LengthReward():
                length = num_tokens if config.unit == "tokens" else len(answer)
                return length_score(length, config.min_length, config.max_length)
        assert_never(config)


def reward_functions(method: GrpoMethod) -> list[RewardFunction | FileReward]:
    """The functions of the job's rewards, in their order. Each is called by its type, numbered where that repeats.

    Raise `InvalidRequestError` for a Python file that changed since the submission, or that cannot be loaded.
    """
    seen: Counter[str] = Counter()
    functions: list[RewardFunction | FileReward] = []
    for place, reward in enumerate(method.rewards):
        seen[reward.type] += 1
        name = f"{reward.type}_{seen[reward.type]}" if seen[reward.type] > 1 else reward.type
        if isinstance(reward, PythonFile):
            functions.append(FileReward(reward, name, f"method.rewards.{place}"))
        else:
            functions.append(RewardFunction(reward, name))
    return functions


def checked_rewards(method: GrpoMethod, reward_files: Sequence[Path]) -> GrpoMethod:
    """The method with the hashes of its Python files. Raise what `checked_scores` raises."""
    return method.model_copy(update={"rewards": checked_scores(method.rewards, "method.rewards", reward_files)})


def checked_scores(scores: Sequence[ScoreT], field: str, allowed: Sequence[Path]) -> list[ScoreT]:
    """The scores in the list `field`, with the hashes of their Python files, which must be among or below `allowed`.

    Raise `InvalidRequestError` for a score that cannot be computed.
    """
    found = list(scores)
    for number, score in enumerate(found):
        place = f"{field}.{number}"
        if isinstance(score, PythonFile):
            found[number] = checked(score, place, allowed)
        elif isinstance(score, JsonSchema) and score.definition is not None:
            _check_schema(score.definition, f"{place}.definition")
    return found


def _check_schema(definition: dict[str, Any], field: str) -> None:
    try:
        schema_validator(definition)
    except ValueError as error:
        raise InvalidRequestError(f"{field} is not a valid JSON Schema: {error}.", "invalid_config", field) from None

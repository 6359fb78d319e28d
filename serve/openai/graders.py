"""Graders of OpenAI that mean the same as rewards of ours: `string_check`, and `multi` as a weighted sum of these.

A grader is translated or refused, never approximated: a job must not train on a reward that it does not ask for.
"""

import ast
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from ftlab.errors import InvalidRequestError
from ftlab.schemas.common import StrictModel
from ftlab.schemas.problems import first_problem
from ftlab.schemas.rewards import ExactMatchReward, RegexReward
from train.rewards.functions import RewardFunction

Model = TypeVar("Model", bound=BaseModel)
RewardT = TypeVar("RewardT", ExactMatchReward, RegexReward)

MAX_GRADERS = 20
_TEMPLATE = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
_ANSWER = "sample.output_text"
_ITEM = "item."
_SUPPORTED = ("string_check", "multi")


class StringCheck(StrictModel):
    """Compares the answer with a text, or with a field of the row."""

    type: Literal["string_check"]
    name: str = Field(min_length=1, max_length=200)
    input: str = Field(max_length=1000)
    reference: str = Field(max_length=1000)
    operation: Literal["eq", "ne", "like", "ilike"]


class Multi(StrictModel):
    """A weighted sum of other graders."""

    type: Literal["multi"]
    name: str = Field(min_length=1, max_length=200)
    graders: dict[str, Any] | list[Any] = Field(min_length=1, max_length=MAX_GRADERS)
    calculate_output: str = Field(min_length=1, max_length=1000)


class GraderRun(StrictModel):
    """A grader to try on one answer."""

    grader: dict[str, Any]
    model_sample: str
    item: dict[str, Any] | None = None


class GraderCheck(StrictModel):
    """A grader to validate."""

    grader: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One reward of a grader."""

    name: str
    reward: ExactMatchReward | RegexReward
    item: str | None = None
    """Field of the rows that it compares the answer with."""


def parts_of(grader: Mapping[str, Any], field: str = "grader") -> list[Part]:
    """The rewards whose sum is the score of the grader.

    Raise `InvalidRequestError`: `unsupported_grader` for one that has no equal, `invalid_grader` for a malformed one.
    """
    kind = grader.get("type")
    if kind == "string_check":
        return [_string_check(_parsed(StringCheck, grader, field), field)]
    if kind == "multi":
        return _multi(_parsed(Multi, grader, field), field)
    what = f"{field}.type must be {' or '.join(_SUPPORTED)}: no reward of this service equals other graders"
    raise _unsupported(what, field)


def rewards_of(grader: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """The `rewards` of a job's config. Raises as `parts_of` does."""
    return [part.reward.model_dump(mode="json") for part in parts_of(grader, field)]


def item_of(grader: Mapping[str, Any], field: str) -> str | None:
    """The field of the rows that the grader reads. Raises `InvalidRequestError` where it reads several."""
    items = {part.item for part in parts_of(grader, field) if part.item is not None}
    if len(items) > 1:
        raise _unsupported(f"{field} compares with several fields of a row ({', '.join(sorted(items))})", field)
    return next(iter(items), None)


def run(body: GraderRun) -> dict[str, Any]:
    """The score of an answer, as OpenAI replies it."""
    started, scores = time.perf_counter(), {}
    parts = parts_of(body.grader)
    for part in parts:
        value = (body.item or {}).get(part.item) if part.item is not None else ""
        if value is None or isinstance(value, dict | list):
            raise InvalidRequestError(f"item must have the field {part.item!r}, with a text.", "invalid_body", "item")
        reference = value if isinstance(value, str) else json.dumps(value)
        score = RewardFunction(part.reward, part.name)
        [scores[part.name]] = score(completions=[body.model_sample], completion_ids=[[]], reference=[reference])
    errors = dict.fromkeys(_ERRORS, False) | dict.fromkeys(_DETAILS)
    return {
        "reward": sum(part.reward.weight * scores[part.name] for part in parts),
        "sub_rewards": scores if body.grader["type"] == "multi" else {},
        "metadata": {
            "name": body.grader["name"],
            "type": body.grader["type"],
            "errors": errors,
            "execution_time": time.perf_counter() - started,
            "scores": scores,
            "token_usage": None,
            "sampled_model_name": None,
        },
        "model_grader_token_usage_per_model": {},
    }


def _string_check(grader: StringCheck, field: str, weight: float = 1.0, name: str | None = None) -> Part:
    if (asked := _TEMPLATE.fullmatch(grader.input.strip())) is None or asked[1] != _ANSWER:
        raise _unsupported(f"{field}.input must be '{{{{{_ANSWER}}}}}', the whole answer", f"{field}.input")
    name, reference = name or grader.name, _TEMPLATE.fullmatch(grader.reference.strip())
    if reference is not None and reference[1].startswith(_ITEM):
        if grader.operation != "eq":
            what = f"{field}.operation '{grader.operation}' needs a fixed text as reference; a field needs 'eq'"
            raise _unsupported(what, f"{field}.operation")
        reward = _reward(ExactMatchReward, field, strip=False, weight=weight)
        return Part(name, reward, reference[1].removeprefix(_ITEM))
    if "{{" in grader.reference:
        raise _unsupported(
            f"{field}.reference must be a fixed text, or '{{{{item.NAME}}}}' alone", f"{field}.reference"
        )
    text = re.escape(grader.reference)
    match grader.operation:
        case "eq":
            pattern, is_whole = f"(?s){text}", True
        case "ne":
            pattern, is_whole = rf"(?s)(?!{text}\Z).*", True
        case "like":
            pattern, is_whole = f"(?s){text}", False
        case "ilike":
            pattern, is_whole = f"(?si){text}", False
    return Part(name, _reward(RegexReward, field, pattern=pattern, full_match=is_whole, weight=weight))


def _reward(reward: type[RewardT], field: str, **settings: Any) -> RewardT:
    """Raise `InvalidRequestError` for a weight or a text beyond the bounds of rewards."""
    try:
        return reward(**settings)
    except InvalidRequestError as error:
        what = error.message.removeprefix(f"{reward.__name__}: ").rstrip(".")
        raise _unsupported(f"{field} would be a reward whose {what}", field) from None


def _multi(grader: Multi, field: str) -> list[Part]:
    named = _named(grader.graders)
    checks = {}
    for name, each in named.items():
        place = f"{field}.graders.{name}"
        if not isinstance(each, dict) or each.get("type") != "string_check":
            raise _unsupported(f"{place} must be a string_check: no reward of this service equals other graders", place)
        checks[name] = _parsed(StringCheck, each, place)
    weights = _weights(grader.calculate_output, checks, f"{field}.calculate_output")
    return [_string_check(checks[name], f"{field}.graders.{name}", weight, name) for name, weight in weights.items()]


def _named(graders: dict[str, Any] | list[Any]) -> dict[str, Any]:
    """The graders by name: of an object, of a list, or of a single one, which the types of OpenAI's client allow."""
    if isinstance(graders, dict) and not isinstance(graders.get("type"), str):
        return graders
    each = [graders] if isinstance(graders, dict) else graders
    return {str(grader.get("name")) if isinstance(grader, dict) else "": grader for grader in each}


def _weights(formula: str, names: Mapping[str, object], field: str) -> dict[str, float]:
    """The weight of each grader in a formula that is a sum of them, such as `0.8 * a + 0.2 * b`."""
    try:
        weights = _terms(ast.parse(formula.strip(), mode="eval").body, 1.0)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        what = f"{field} must be a weighted sum of the graders, such as '0.8 * a + 0.2 * b'"
        raise _unsupported(what, field) from None
    if unknown := next((name for name in weights if name not in names), None):
        raise InvalidRequestError(f"{field} names {unknown!r}, which is not a grader.", "invalid_grader", field)
    return weights


def _terms(node: ast.expr, factor: float) -> dict[str, float]:
    """The weights in a sum; raise `ValueError` for anything else."""
    match node:
        case ast.Name(name):
            return {name: factor}
        case ast.UnaryOp(ast.USub(), inner):
            return _terms(inner, -factor)
        case ast.BinOp(left, ast.Add() | ast.Sub() as operation, right):
            found = _terms(left, factor)
            for name, weight in _terms(right, factor if isinstance(operation, ast.Add) else -factor).items():
                found[name] = found.get(name, 0.0) + weight
            return found
        case ast.BinOp(ast.Constant(int() | float() as number), ast.Mult(), other):
            return _terms(other, factor * number)
        case ast.BinOp(other, ast.Mult(), ast.Constant(int() | float() as number)):
            return _terms(other, factor * number)
        case ast.BinOp(other, ast.Div(), ast.Constant(int() | float() as number)) if number:
            return _terms(other, factor / number)
    raise ValueError(ast.dump(node))


def _parsed(model: type[Model], grader: Mapping[str, Any], field: str) -> Model:
    try:
        return model.model_validate_json(json.dumps(grader))
    except ValidationError as error:
        problem = first_problem(error.errors(include_url=False), model)
        raise InvalidRequestError(f"{field}: {problem.sentence}.", "invalid_grader", field) from None


def _unsupported(what: str, field: str) -> InvalidRequestError:
    return InvalidRequestError(f"{what}.", "unsupported_grader", field)


_ERRORS = (
    "formula_parse_error",
    "invalid_variable_error",
    "model_grader_parse_error",
    "model_grader_refusal_error",
    "model_grader_server_error",
    "other_error",
    "python_grader_runtime_error",
    "python_grader_server_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
)
_DETAILS = (
    "model_grader_server_error_details",
    "python_grader_runtime_error_details",
    "python_grader_server_error_type",
)

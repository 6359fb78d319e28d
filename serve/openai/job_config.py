"""The config of a job that OpenAI's request asks for, and the way back. Pure functions."""

import json
from dataclasses import dataclass
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.openai.settings import BATCH_SETTINGS, METHODS, MethodName, learning_rate_of, passes_of
from ftlab.schemas import JobConfig
from ftlab.schemas.auto import AUTO, is_auto
from ftlab.schemas.methods import DpoMethod
from serve.http.json_body import validate
from serve.http.problems import unknown_field
from serve.openai.graders import rewards_of
from serve.openai.requests import (
    CreateJob,
    DpoHyperparameters,
    Hyperparameters,
    ReinforcementHyperparameters,
)

METHOD_SETTINGS = "method_settings"
"""Field for settings of our method that OpenAI does not have, for example `max_length`."""
_THEIRS = ("model", "dataset", "eval_dataset", "method")
OWN_FIELDS = (*(name for name in JobConfig.model_fields if name not in (*_THEIRS, "kind")), METHOD_SETTINGS)
"""Fields that a request may have besides those of OpenAI."""
GRADER = "method.reinforcement.grader"
_MAPPED = {"n_epochs": "num_train_epochs", "learning_rate_multiplier": "learning_rate", "eval_interval": "eval_steps"}


@dataclass(frozen=True)
class RequestedMethod:
    """The method of a request."""

    name: MethodName
    hyperparameters: Hyperparameters
    field: str
    """Where its settings are in the request."""
    grader: dict[str, Any] | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The method as OpenAI writes it, without the hyperparameters."""
        return {"type": self.name} | ({"grader": self.grader} if self.grader is not None else {})


def requested_method(body: CreateJob) -> RequestedMethod:
    """Raise `InvalidRequestError`: `unsupported_method`, or `invalid_body` for settings of another method."""
    choice = body.method
    if choice is None:
        return RequestedMethod("supervised", body.hyperparameters or Hyperparameters(), "hyperparameters")
    if choice.type not in METHODS:
        raise InvalidRequestError(
            f"method.type must be {', '.join(METHODS)}; other methods are in our own API.",
            "unsupported_method",
            "method.type",
        )
    if body.hyperparameters is not None:
        message = "hyperparameters is the older form of method.supervised.hyperparameters; leave it out beside method."
        raise InvalidRequestError(message, "invalid_body", "hyperparameters")
    for name in METHODS:
        if name != choice.type and getattr(choice, name) is not None:
            message = f"method.{name} has no effect with method.type '{choice.type}'; leave it out."
            raise InvalidRequestError(message, "invalid_body", f"method.{name}")
    field = f"method.{choice.type}.hyperparameters"
    match choice.type:
        case "dpo":
            return RequestedMethod("dpo", (choice.dpo and choice.dpo.hyperparameters) or DpoHyperparameters(), field)
        case "reinforcement":
            return _reinforcement(choice.reinforcement, field)
    chosen = choice.supervised
    return RequestedMethod("supervised", (chosen and chosen.hyperparameters) or Hyperparameters(), field)


def to_config(body: CreateJob, model: str, dataset: str, eval_dataset: str | None) -> JobConfig:
    """The config of the job. `model` and the datasets are ours, as the names in the request stand for them.

    Raise `InvalidRequestError` for what has no equivalent here, with the field of the request or of our config.
    """
    own, method = body.own_fields, requested_method(body)
    for name in own:
        if name not in OWN_FIELDS:
            raise unknown_field([], name, [*CreateJob.model_fields, *OWN_FIELDS])
    if body.integrations:
        raise InvalidRequestError(
            "integrations are not supported; MLflow has the record of every job. Leave the field out.",
            "unsupported_integration",
            "integrations",
        )
    training = _training(body, method, _group(own, "training"), own)
    document = {name: value for name, value in own.items() if name != METHOD_SETTINGS} | {
        "model": model,
        "dataset": dataset,
        "eval_dataset": eval_dataset,
        "method": _method(method, _group(own, METHOD_SETTINGS)),
        "training": training,
    }
    if body.suffix is not None:
        document.setdefault("name", body.suffix)
    return validate(JobConfig, json.dumps(document))


def hyperparameters_of(config: JobConfig) -> dict[str, Any]:
    """The hyperparameters that a config stands for. Epochs are rounded, as OpenAI has whole ones only."""
    training, method = config.training, config.method
    rows = training.per_device_train_batch_size * training.gradient_accumulation_steps * config.resources.num_workers
    found: dict[str, Any] = {
        "n_epochs": max(1, round(training.num_train_epochs)),
        "batch_size": max(1, rows // method.answers_per_row),
        "learning_rate_multiplier": round(config.learning_rate / method.learning_rates[config.tuning], 6),
    }
    return found | ({"beta": method.beta} if isinstance(method, DpoMethod) else {})


def own_fields_of(config: JobConfig) -> dict[str, Any]:
    """The settings of a config that OpenAI does not have, as a request may give them."""
    document = config.model_dump(mode="json")
    settings = {name: value for name, value in document["method"].items() if name not in ("type", "rewards")}
    return {name: document[name] for name in OWN_FIELDS if name != METHOD_SETTINGS} | {METHOD_SETTINGS: settings}


def method_name(config: JobConfig) -> MethodName | None:
    """OpenAI's name of the method; `None` for one that it does not have."""
    return next((name for name, method in METHODS.items() if isinstance(config.method, method)), None)


def _reinforcement(settings: Any, field: str) -> RequestedMethod:
    if settings is None:
        message = "method.reinforcement is required, with a grader that scores the answers."
        raise InvalidRequestError(message, "missing_field", "method.reinforcement")
    given = settings.hyperparameters or ReinforcementHyperparameters()
    for name, only in (("reasoning_effort", "default"), ("compute_multiplier", AUTO), ("eval_samples", AUTO)):
        if getattr(given, name) not in (None, only):
            message = f"{field}.{name} is not supported; leave it out or set it to '{only}'."
            raise InvalidRequestError(message, "unsupported_parameter", f"{field}.{name}")
    return RequestedMethod("reinforcement", given, field, settings.grader)


def _method(method: RequestedMethod, settings: dict[str, Any]) -> dict[str, Any]:
    """The `method` of the config."""
    kind = METHODS[method.name].model_fields["type"].default
    document = {**settings, "type": kind}
    if method.grader is not None:
        document["rewards"] = rewards_of(method.grader, GRADER)
    beta = getattr(method.hyperparameters, "beta", AUTO)
    if not _is_left_open(beta):
        _set(document, "beta", beta, f"{method.field}.beta", f"{METHOD_SETTINGS}.beta")
    return document


def _training(
    body: CreateJob, method: RequestedMethod, training: dict[str, Any], own: dict[str, Any]
) -> dict[str, Any]:
    """The `training` of the config: what the request gives, `auto` for what it leaves open."""
    training, given = dict(training), method.hyperparameters
    for name, ours in _MAPPED.items():
        value: Any = getattr(given, name, None)
        if _is_left_open(value):
            if name != "eval_interval":
                training.setdefault(ours, AUTO)
            continue
        if name == "learning_rate_multiplier":
            value = learning_rate_of(value, method.name, str(own.get("tuning", "lora")))
        value = float(value) if name == "n_epochs" else value
        _set(training, ours, value, f"{method.field}.{name}", f"training.{ours}")
    _add_batch_size(training, method, own)
    if body.seed is not None:
        _set(training, "seed", body.seed, "seed", "training.seed")
    return training


def _add_batch_size(training: dict[str, Any], method: RequestedMethod, own: dict[str, Any]) -> None:
    """The rows of a step as rows of one pass, passes and workers."""
    rows: Any = method.hyperparameters.batch_size
    field = f"{method.field}.batch_size"
    if _is_left_open(rows):
        if not any(name in training for name in BATCH_SETTINGS):
            training.update(dict.fromkeys(BATCH_SETTINGS, AUTO))
        return
    workers = _group(own, "resources").get("num_workers", 1)
    if not isinstance(workers, int) or workers < 1:
        return  # the config is refused for it
    if rows % workers:
        message = f"{field} ({rows}) must be a multiple of resources.num_workers ({workers})."
        raise InvalidRequestError(message, "invalid_body", field)
    answers = _group(own, METHOD_SETTINGS).get("num_generations", 4) if method.name == "reinforcement" else None
    for name, value in passes_of(rows // workers, answers).items():
        _set(training, name, value, field, f"training.{name}")


def _group(own: dict[str, Any], name: str) -> dict[str, Any]:
    value = own.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{name} must be an object.", "invalid_body", name)
    return value


def _set(group: dict[str, Any], name: str, value: Any, field: str, own_field: str) -> None:
    if name in group:
        message = f"{field} and {own_field} cannot be combined; set one of them."
        raise InvalidRequestError(message, "invalid_body", field)
    group[name] = value


def _is_left_open(value: object) -> bool:
    return value is None or is_auto(value)

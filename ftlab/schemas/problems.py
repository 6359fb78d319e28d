"""A refused document in words: which field, what it must be, what was probably meant; never the values."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ftlab.schemas.common import did_you_mean

MAX_PROBLEMS = 3
"""Problems that one message names; the rest are counted."""

_RULES: dict[str, str] = {
    "missing": "is required",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number of at most 64 bits",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "model_type": "must be a group of settings",
    "model_attributes_type": "must be a group of settings",
}
"""By pydantic's kind of problem; its own wording speaks of Python."""

_OTHER_NAMES = {
    "alpha": "lora.lora_alpha",
    "batch_size": "training.per_device_train_batch_size",
    "epochs": "training.num_train_epochs",
    "num_epochs": "training.num_train_epochs",
    "grad_accum": "training.gradient_accumulation_steps",
    "lr": "training.learning_rate",
    "max_seq_length": "method.max_length",
    "num_gpus": "resources.gpus_per_worker",
    "qlora": "load_in_4bit",
    "rank": "lora.r",
    "scheduler": "training.lr_scheduler_type",
    "validation_dataset": "eval_dataset",
}
"""Names that other tools use for a setting of a job."""

_REMEDIES = {"tuning": "for QLoRA, keep 'lora' and set load_in_4bit: true"}
"""What to do instead, by the field that has a wrong value."""


@dataclass(frozen=True)
class Problem:
    """`field` is the dotted path of the field at fault, empty for the whole document."""

    field: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def first_problem(entries: list[ErrorDetails], model: type[BaseModel]) -> Problem:
    """The first of `problems_of`, without the work of putting the others into words: there may be very many.

    `entries` are those of pydantic's error.
    """
    return _problem(min(entries, key=_importance), model)


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """What pydantic refused in a document of `model`, one entry a field; misspelt keys come first."""
    found: dict[str, Problem] = {}
    for entry in sorted(error.errors(include_url=False, include_input=False), key=_importance):
        problem = _problem(entry, model)
        found.setdefault(problem.field, problem)
    return list(found.values())


def summary(problems: list[Problem]) -> str:
    """The first few problems in one line."""
    shown = "; ".join(str(problem) for problem in problems[:MAX_PROBLEMS]).replace("?; ", "? ")
    more = len(problems) - MAX_PROBLEMS
    shown = f"{shown}; and {more} more" if more > 0 else shown
    return shown if shown.endswith("?") else f"{shown}."


def _importance(entry: ErrorDetails) -> int:
    """For sorting. A misspelt key leaves its field missing as well: the key is the better thing to name."""
    return 0 if entry["type"] == "extra_forbidden" else 1


def _problem(entry: ErrorDetails, model: type[BaseModel]) -> Problem:
    path = _field_path(entry["loc"], model, is_unknown=entry["type"] == "extra_forbidden")
    return Problem(".".join(path), _sentence(path, entry, model))


def _sentence(path: list[str], entry: ErrorDetails, model: type[BaseModel]) -> str:
    field = ".".join(path) or "the document"
    context: Mapping[str, Any] = entry.get("ctx") or {}
    if entry["type"] == "extra_forbidden":
        return f"{field} is not a known setting" + _meant(path, model)
    if entry["type"] == "value_error":
        text = str(context["error"])
        # Rules about one field start with their verb, rules about several name their fields.
        return f"{field} {text}" if text.startswith("must ") else text
    rule = _RULES.get(entry["type"])
    sentence = f"{field} {rule.format(**context)}" if rule else f"{field} is not valid"
    remedy = _REMEDIES.get(field) if entry["type"] == "literal_error" else None
    return f"{sentence}; {remedy}" if remedy else sentence


def _meant(path: list[str], model: type[BaseModel]) -> str:
    """A hint for a key that exists elsewhere (`learning_rate` belongs into `training`) or is misspelt.

    `lora_r` means `lora.r`, and `epochs` is what other tools call `num_train_epochs`.
    """
    known = list(_dotted_fields(model))
    meant = [name for name in known if path[-1] in (name.rpartition(".")[2], name.replace(".", "_"))]
    meant += [name for name in (_OTHER_NAMES.get(path[-1]),) if name in known]
    if meant:
        return f". Did you mean {meant[0]!r}?"
    hint = did_you_mean(path[-1], _field_names(path[:-1], model))
    return f".{hint}" if hint else ""


def _field_path(loc: tuple[int | str, ...], model: type[BaseModel], *, is_unknown: bool) -> list[str]:
    """The location without the tags of union branches that pydantic puts into it."""
    path: list[str] = []
    for place, part in enumerate(loc, start=1):
        is_last_of_unknown = is_unknown and place == len(loc)
        if isinstance(part, int) or part in _field_names(path, model) or is_last_of_unknown:
            path.append(str(part))
    return path


def _field_names(path: list[str], model: type[BaseModel]) -> list[str]:
    models = [model]
    for name in path:
        models = [
            found
            for item in models
            if name in item.model_fields
            for found in _models_in(item.model_fields[name].annotation)
        ]
    return [name for item in models for name in item.model_fields]


def _dotted_fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for nested in _models_in(field.annotation):
            yield from _dotted_fields(nested, f"{prefix}{name}.")


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)

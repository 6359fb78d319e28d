"""Messages for a refused document: which field, what it must be, what was probably meant; never the given text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import is_typeddict

from ftlab.formatting import one_line
from ftlab.schemas.common import did_you_mean
from ftlab.schemas.error_rules import KIND_ERRORS, WRONG_TAG, broken_rule

MAX_PROBLEMS = 3
"""Most problems that one message names; the rest are counted."""

MAX_FIELD_CHARS = 200
MAX_RELATED = 20
"""Errors of one value that are looked at: a union has one for each of its kinds."""

_OTHER_NAMES = {
    "alpha": "lora.lora_alpha",
    "batch_size": "training.per_device_train_batch_size",
    "epochs": "training.num_train_epochs",
    "num_epochs": "training.num_train_epochs",
    "grad_accum": "training.gradient_accumulation_steps",
    "max_hours": "time_limit_s",
    "lr": "training.learning_rate",
    "max_seq_length": "method.max_length",
    "num_gpus": "resources.gpus_per_worker",
    "qlora": "load_in_4bit",
    "rank": "lora.r",
    "scheduler": "training.lr_scheduler_type",
    "test_size": "eval_split",
    "validation_dataset": "eval_dataset",
    "validation_split": "eval_split",
}
"""Names that other tools use for a setting of a job."""

_REMEDIES = {
    "method": "name the method by its type, such as {type: dpo}",
    "tuning": "for QLoRA, keep 'lora' and set load_in_4bit: true",
}
"""What to do instead, by the field that has a wrong value."""


@dataclass(frozen=True)
class Problem:
    """`field` is the dotted path of the field at fault, empty for the whole document."""

    field: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def first_problem(entries: list[ErrorDetails], model: type[BaseModel]) -> Problem:
    """The first of `problems_of`, without describing the others, as there may be very many.

    `entries` are those of pydantic's error.
    """
    first = min(entries, key=_importance)
    if first["type"] == "extra_forbidden":
        return _problem([first], model)
    related = [entry for entry in entries if entry["loc"][:1] == first["loc"][:1]]
    return _problems(related[:MAX_RELATED], model)[0]


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """What pydantic refused in a document of `model`, one entry a field; misspelt keys come first."""
    return _problems(error.errors(include_url=False), model)


def summary(problems: list[Problem]) -> str:
    """The first few problems in one line."""
    shown = "; ".join(str(problem) for problem in problems[:MAX_PROBLEMS]).replace("?; ", "? ")
    more = len(problems) - MAX_PROBLEMS
    shown = f"{shown}; and {more} more" if more > 0 else shown
    return shown if shown.endswith("?") else f"{shown}."


def _importance(entry: ErrorDetails) -> int:
    """For sorting. A misspelt key leaves its field missing as well: the key is the better thing to name."""
    return 0 if entry["type"] == "extra_forbidden" else 1


def _problems(entries: list[ErrorDetails], model: type[BaseModel]) -> list[Problem]:
    """One problem a field; that of a list or group is left out where one of its items is at fault.

    There may be very many: those that no message names have no sentence.
    """
    by_path: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for entry in sorted(entries, key=_importance):
        by_path.setdefault(_path(entry, model), []).append(entry)
    parents = {path[:length] for path in by_path for length in range(1, len(path))}
    at_fault = [(path, found) for path, found in by_path.items() if path not in parents]
    described = [_problem(found, model) for _, found in at_fault[:MAX_PROBLEMS]]
    return described + [Problem(_named(path), "") for path, _ in at_fault[MAX_PROBLEMS:]]


def _problem(entries: list[ErrorDetails], model: type[BaseModel]) -> Problem:
    """The problem of one field. A union has one entry for each of its kinds."""
    path = _path(entries[0], model)
    return Problem(_named(path), _sentence(path, entries, model))


def _named(path: Sequence[str]) -> str:
    """The dotted path on one line, shortened, as a key of a document may be anything."""
    name = one_line(".".join(path))
    return name if len(name) <= MAX_FIELD_CHARS else f"{name[:MAX_FIELD_CHARS]}…"


def _path(entry: ErrorDetails, model: type[BaseModel]) -> tuple[str, ...]:
    path = _field_path(entry["loc"], model, is_unknown=entry["type"] == "extra_forbidden")
    return (*path, "type") if entry["type"] == WRONG_TAG else tuple(path)


def _sentence(path: tuple[str, ...], entries: list[ErrorDetails], model: type[BaseModel]) -> str:
    field = _named(path) or "the document"
    first = entries[0]
    if first["type"] == "extra_forbidden":
        if field in _dotted_fields(model):  # one of another kind of the group
            return f"{field} is not a setting of {'.'.join(path[:-1])}.type {str(first['loc'][-2])!r}"
        return f"{field} is not a known setting" + _meant(path, model)
    # The kind that the value has says more than those that it does not have.
    precise = next((entry for entry in entries if entry["type"] not in KIND_ERRORS), None)
    if precise is not None:
        rule = broken_rule(precise)
        # Rules about one field start with their verb, rules about several name their fields.
        names_fields = precise["type"] == "value_error" and not rule.startswith("must ")
        return rule if names_fields else f"{field} {rule}"
    kinds = dict.fromkeys(broken_rule(entry).removeprefix("must be ") for entry in entries)
    remedy = _REMEDIES.get(field)
    # The number that was given comes last: "a whole number or 'auto', not 1.5".
    rules = [kind.partition(", not ") for kind in kinds]
    given = next((f", not {number}" for _, _, number in rules if number), "")
    expected = " or ".join(dict.fromkeys(rule for rule, _, _ in rules))
    return f"{field} must be {expected}{given}" + (f"; {remedy}" if remedy else "")


def _meant(path: Sequence[str], model: type[BaseModel]) -> str:
    """A hint for a key that exists elsewhere (`learning_rate` belongs in `training`) or is misspelt.

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


def _field_names(path: Sequence[str], model: type[BaseModel]) -> list[str]:
    models: list[type] = [model]
    for name in (part for part in path if not part.isdecimal()):  # the numbers are places in lists
        models = [found for item in models for found in _models_in(_annotations(item).get(name))]
    return [name for item in models for name in _annotations(item)]


def _dotted_fields(model: type, prefix: str = "") -> Iterator[str]:
    for name, annotation in _annotations(model).items():
        yield f"{prefix}{name}"
        for nested in _models_in(annotation):
            yield from _dotted_fields(nested, f"{prefix}{name}.")


def _annotations(model: type) -> dict[str, Any]:
    """The fields of a model or of a `TypedDict`, with their types."""
    if issubclass(model, BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    return get_type_hints(model)


def _models_in(annotation: Any) -> Iterable[type]:
    if is_typeddict(annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)

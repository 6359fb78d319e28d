"""Errors for invalid requests: they name the field and its range, never a text that was given."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from ftlab.errors import FineTuneLabError, InvalidRequestError, PermissionDeniedError
from ftlab.schemas import BaseJobConfig
from ftlab.schemas.common import did_you_mean
from ftlab.schemas.error_rules import broken_rule
from ftlab.schemas.problems import first_problem

REMOTE_CODE = "trust_remote_code"
"""A field of other services. It gets an error of its own instead of that for an unknown field."""

REFUSED_BODY = "refused_body"

_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""A key that may be named in a reply; other keys are not repeated."""


def body_error(error: ValidationError, model: type[BaseModel]) -> FineTuneLabError:
    """The error for a JSON object that is not a valid `model`."""
    entries = error.errors(include_url=False)
    if any(_wants_remote_code(entry) for entry in entries):
        return PermissionDeniedError(
            "This service never runs code that comes with a model; leave trust_remote_code out.",
            "remote_code_not_allowed",
            REMOTE_CODE,
        )
    # Of several problems, an unknown key is the one that is reported.
    unknown = next((entry["loc"] for entry in entries if entry["type"] == "extra_forbidden"), None)
    if unknown and not _FIELD_NAME.fullmatch(str(unknown[-1])):
        return _unnamed_field([str(part) for part in unknown[:-1]])
    first = first_problem(entries, model)
    if unknown:
        return InvalidRequestError(_ended(str(first)), "unknown_field", first.field)
    code = "invalid_config" if issubclass(model, BaseJobConfig) else "invalid_body"
    if first.field == "model" and not first.sentence.endswith("is required"):
        code = "invalid_model_id"
    return InvalidRequestError(_ended(str(first)), code, first.field or None)


def invalid_body(message: str) -> InvalidRequestError:
    """The error for a body that is not a JSON object, or has values that no route accepts."""
    return InvalidRequestError(message, "invalid_body")


def refused_body(error: FineTuneLabError) -> PydanticCustomError:
    """Carry `error` through FastAPI's validation of parameters to `request_error`."""
    return PydanticCustomError(REFUSED_BODY, "{error}", {"error": error})


def unknown_field(path: Sequence[str], key: str, known: Iterable[str]) -> InvalidRequestError:
    """The error for a key that does not exist at `path`; `known` are the keys that do."""
    if not _FIELD_NAME.fullmatch(key):
        return _unnamed_field(path)
    field = ".".join([*path, key])
    return InvalidRequestError(
        f"{field} is not a known setting.{did_you_mean(key, list(known))}", "unknown_field", field
    )


def unknown_parameter(name: str, known: Iterable[str]) -> InvalidRequestError:
    """The error for a query parameter that a route does not have; `known` are those that it has."""
    if not _FIELD_NAME.fullmatch(name):
        return InvalidRequestError("The query has a parameter that does not exist.", "unknown_parameter")
    hint = did_you_mean(name, list(known))
    return InvalidRequestError(f"{name} is not a query parameter of this path.{hint}", "unknown_parameter", name)


def unknown_form_field(name: str, file_field: str = "file", texts: Collection[str] = ()) -> InvalidRequestError:
    """The error for a form field other than the file and the fields of the names `texts`."""
    if not _FIELD_NAME.fullmatch(name):
        return InvalidRequestError(f"The form has a field other than '{file_field}'.", "unknown_field")
    if texts or file_field != "file":
        known = ", ".join(sorted({file_field, *texts}))
        message = f"{name} is not a field of this form, or is there twice; it may have {known}."
        return InvalidRequestError(message, "unknown_field", name)
    return InvalidRequestError(
        f"The form has the field {name!r}, and only 'file' is read; give it as a query parameter: ?{name}=...",
        "unknown_field",
        name,
    )


def request_error(entries: Sequence[Any]) -> FineTuneLabError:
    """The error for a parameter or the body, from FastAPI's list of errors."""
    first = entries[0]
    if first["type"] == REFUSED_BODY:
        error: FineTuneLabError = first["ctx"]["error"]
        return error
    if first["loc"] == ("body",):
        return invalid_body("The body is empty; it must be a JSON object.")
    name = str(first["loc"][1]) if len(first["loc"]) > 1 else "The request"
    return InvalidRequestError(f"{name} {broken_rule(first)}.", "invalid_parameter", name)


def _wants_remote_code(entry: Mapping[str, Any]) -> bool:
    return entry["type"] == "extra_forbidden" and entry["loc"][-1] == REMOTE_CODE and entry["input"] is True


def _unnamed_field(parent: Sequence[str]) -> InvalidRequestError:
    param = ".".join(parent) or None
    return InvalidRequestError(f"{param or 'The body'} has a field that does not exist.", "unknown_field", param)


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith("?") else f"{sentence}."

"""Reading JSON bodies strictly: nothing comes in that parsers read differently or a database refuses."""

import json
import math
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from ftlab.errors import InvalidRequestError, MalformedRequestError
from serve.http.problems import body_error

MAX_JSON_BYTES = 1024**2
"""Largest JSON body."""
MAX_DEPTH = 32
"""Deepest nesting of a body; a job's configuration needs four levels."""

REFUSED_TEXT = re.compile("[\0\ud800-\udfff]")
"""What no database takes: NUL, and halves of surrogate pairs."""

Model = TypeVar("Model", bound=BaseModel)


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body.

    Raise `MalformedRequestError` (400) when the text is not JSON, and `InvalidRequestError` (422, code
    `invalid_body`) when it is JSON, but no object or one with values that are not accepted anywhere.
    """
    return parse_object(await request.body())


async def read_optional_object(request: Request) -> dict[str, Any]:
    """The same where the body may be left out: it then counts as an empty object."""
    raw = await request.body()
    return parse_object(raw) if raw.strip() else {}


def parse_object(raw: bytes) -> dict[str, Any]:
    """The same for bytes."""
    if not raw.strip():
        raise _invalid("The body is empty; it must be a JSON object.")
    value = _parse(raw)
    if not isinstance(value, dict):
        raise _invalid("The body must be a JSON object.")
    _check_values(value)
    return value


def validate(model: type[Model], document: dict[str, Any]) -> Model:
    """The document as a `model`; raise `InvalidRequestError` naming the first field that does not fit."""
    try:
        return model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise body_error(error, model) from None


def canonical(document: dict[str, Any]) -> bytes:
    """One spelling for equal documents: what an idempotency key is compared by."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _parse(raw: bytes) -> Any:
    try:
        return _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedRequestError(f"The body is not valid UTF-8 (byte {error.start + 1}).") from None
    except json.JSONDecodeError as error:
        problem = error.msg.split(":")[0].removesuffix(" at")
        place = f"line {error.lineno}, column {error.colno}"
        raise MalformedRequestError(f"The body is not valid JSON: {problem} at {place}.") from None
    except RecursionError:
        raise _invalid("The body is nested too deeply.") from None
    except ValueError:
        # Python refuses to read integers of more than 4,300 digits.
        raise _invalid("The body holds a number with too many digits.") from None


def _check_values(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        for value in level:
            if isinstance(value, str):
                _check_text(value)
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise _invalid("The body is nested too deeply.")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _check_text(text: str) -> None:
    if found := REFUSED_TEXT.search(text):
        what = "a NUL character" if found[0] == "\0" else "half of a surrogate pair, which is no character"
        raise _invalid(f"The body holds {what}.")


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise _invalid("The body holds a number that is too large.")
    return number


def _refuse_constant(_: str) -> float:
    raise _invalid("NaN and Infinity are not JSON; leave the value out.")


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise _invalid("The body names a field twice.")
    return document


def _invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, "invalid_body")


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_twins, parse_float=_finite, parse_constant=_refuse_constant)

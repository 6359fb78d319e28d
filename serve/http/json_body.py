"""Strict reading of JSON bodies: what parsers read differently, or a database refuses, is refused here.

A route of the class `JsonRoute` declares its body as a parameter of the type `JsonBody[Model]`.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Body
from fastapi.routing import APIRoute
from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema
from starlette.requests import Request
from starlette.responses import Response

from ftlab.errors import FineTuneLabError, MalformedRequestError
from ftlab.schemas.job_kinds import SubmittedConfig, submitted_class
from serve.http.problems import body_error, invalid_body, refused_body

MAX_JSON_BYTES = 1024**2
"""Largest JSON body."""
MAX_DEPTH = 32
"""Deepest nesting of a body; a job's configuration needs four levels."""

REFUSED_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that databases refuse: NUL, and halves of surrogate pairs."""

Model = TypeVar("Model", bound=BaseModel)


class JsonRoute(APIRoute):
    """A route whose body FastAPI describes and `JsonBody` parses, whatever content type the client gave."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def with_body(request: Request) -> Response:
            request = _RawRequest(request.scope, request.receive)
            await request.body()  # FastAPI would answer 400 to everything that can go wrong while it reads
            return await handle(request)

        return with_body


class _RawRequest(Request):
    """Hands FastAPI the bytes of the body in place of parsed JSON; a blank body counts as none."""

    async def body(self) -> bytes:
        raw = await super().body()
        return raw if raw.strip() else b""

    async def json(self) -> bytes:
        return await self.body()


class _StrictJson:
    """Has pydantic read the annotated model from the bytes of a JSON document."""

    def __init__(self, choose: Callable[[dict[str, Any]], type[BaseModel]] | None = None) -> None:
        """Where the annotated type is a union of models, `choose` finds the one that a document is."""
        self._choose = choose

    def __get_pydantic_core_schema__(self, model: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # The model is the JSON schema only: as what follows the reading, it would check the cross-field rules again.
        read = core_schema.no_info_plain_validator_function(partial(_read, self._choose or (lambda _: model)))
        return core_schema.json_or_python_schema(json_schema=handler(model), python_schema=read)


JsonBody = Annotated[Model, _StrictJson(), Body()]
"""The body of a `JsonRoute`. With a default it may be left out."""
JobBody = Annotated[SubmittedConfig, _StrictJson(submitted_class), Body()]
"""The config of a job of any kind that users submit, as the body of a `JsonRoute`."""


def _read(choose: Callable[[dict[str, Any]], type[Model]], raw: bytes) -> Model:
    try:
        return validate(choose(parse_object(raw)), raw)
    except FineTuneLabError as error:
        # As an error of pydantic it comes after those of the other parameters.
        raise refused_body(error) from None


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raise `MalformedRequestError` (400) when the text is not JSON, and `InvalidRequestError` (422, code
    `invalid_body`) when it is JSON, but not an object, or one with values that are not accepted anywhere.
    """
    if not raw.strip():
        raise invalid_body("The body is empty; it must be a JSON object.")
    value = _parse(raw)
    if not isinstance(value, dict):
        raise invalid_body("The body must be a JSON object.")
    if b"\\u" in raw or raw.count(b"{") + raw.count(b"[") >= MAX_DEPTH:
        # Only an escape can stand for a character that is refused, and every level of nesting has a bracket.
        _check_values(value)
    return value


def validate(model: type[Model], document: str | bytes) -> Model:
    """The JSON document as a `model`; raise `InvalidRequestError` naming the first field that does not fit."""
    try:
        return model.model_validate_json(document)
    except ValidationError as error:
        raise body_error(error, model) from None


def canonical(raw: bytes) -> bytes:
    """One spelling for all spellings of a JSON document."""
    return json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(raw: bytes) -> str:
    """The SHA-256 of a JSON document, equal for all of its spellings."""
    return hashlib.sha256(canonical(raw)).hexdigest()


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
        raise invalid_body("The body is nested too deeply.") from None
    except ValueError:
        # Python refuses to read integers of more than 4,300 digits.
        raise invalid_body("The body contains a number with too many digits.") from None


def _check_values(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        for value in level:
            if isinstance(value, str):
                _check_text(value)
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise invalid_body("The body is nested too deeply.")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _check_text(text: str) -> None:
    if found := REFUSED_TEXT.search(text):
        what = "a NUL character" if found[0] == "\0" else "half of a surrogate pair, which is not a character"
        raise invalid_body(f"The body contains {what}.")


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise invalid_body("The body contains a number that is too large.")
    return number


def _refuse_constant(_: str) -> float:
    raise invalid_body("NaN and Infinity are not JSON; leave the value out.")


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise invalid_body("The body contains a field twice.")
    return document


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_twins, parse_float=_finite, parse_constant=_refuse_constant)

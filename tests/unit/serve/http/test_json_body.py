"""Reading bodies strictly."""

import contextlib
import json
from typing import ClassVar, Self

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, model_validator
from starlette.testclient import TestClient

from ftlab.errors import FineTuneLabError, InvalidRequestError, MalformedRequestError
from ftlab.schemas import JobConfig
from serve.http.json_body import MAX_DEPTH, JsonBody, JsonRoute, canonical, parse_object, validate


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        (b'{"a": 1} {"b": 2}', "line 1, column 10"),
        (b"{'a': 1}", "line 1, column 2"),
        (b"nothing", "line 1, column 1"),
        (b'\xef\xbb\xbf{"a": 1}', "line 1, column 1"),
        (b'{"a": "\x01"}', "line 1, column 8"),
    ],
)
def test_broken_json_is_placed(raw, place):
    with pytest.raises(MalformedRequestError) as caught:
        parse_object(raw)
    assert caught.value.code == "malformed_json"
    assert place in caught.value.message


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"  \n",
        b"null",
        b"[]",
        b"3",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": {"b": ["\\u0000"]}}',
        b'{"a": 1, "a": 2}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH,
        b'{"a":' + b"[" * 200_000,
        b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    ],
)
def test_json_that_is_no_acceptable_object_is_refused(raw):
    with pytest.raises(FineTuneLabError) as caught:
        parse_object(raw)
    assert caught.value.code in ("invalid_body", "malformed_json")


def test_the_deepest_body_has_one_level_less_than_values_may_have():
    raw = b'{"a":' * (MAX_DEPTH - 1) + b"1" + b"}" * (MAX_DEPTH - 1)
    assert json.dumps(parse_object(raw), separators=(",", ":")).encode() == raw


def test_of_very_many_unknown_keys_the_first_is_looked_up(monkeypatch):
    looked_up = []
    monkeypatch.setattr("ftlab.schemas.problems.did_you_mean", lambda word, known: looked_up.append(word) or "")
    with pytest.raises(InvalidRequestError, match="key0 is not a known setting"):
        validate(JobConfig, json.dumps({f"key{number}": 1 for number in range(1000)}))
    assert looked_up == ["key0"]
    with pytest.raises(InvalidRequestError, match="a field that does not exist"):
        validate(JobConfig, json.dumps({"x" * 1000: 1}))
    assert looked_up == ["key0"]


def test_a_body_that_is_not_utf8_is_refused():
    with pytest.raises(MalformedRequestError, match="byte 8"):
        parse_object(b'{"a": "\xff"}')


def test_surrogate_pairs_are_characters():
    assert parse_object(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


def test_equal_documents_have_one_canonical_form():
    assert canonical(b'{"b": 1, "a": "\\u00e4"}') == canonical('{"a":"ä","b":1}'.encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(raw):
    with contextlib.suppress(InvalidRequestError, MalformedRequestError):
        assert isinstance(parse_object(raw), dict)


BASE = {"model": "org/name", "dataset": "ds-1"}


@pytest.mark.parametrize(
    ("change", "code", "param", "message"),
    [
        ({"learning_rate": 1}, "unknown_field", "learning_rate", "'training.learning_rate'?"),
        ({"training": {"learning_rte": 1}}, "unknown_field", "training.learning_rte", "'learning_rate'"),
        ({"zzz zzz<script>": 1}, "unknown_field", None, "The body has a field that does not exist."),
        ({"training": {"a b": 1}}, "unknown_field", "training", "training has a field that does not exist."),
        ({"training": {"learning_rate": 0}}, "invalid_config", "training.learning_rate", "greater than 0"),
        ({"lora": {"r": 0}}, "invalid_config", "lora.r", "lora.r must be at least 1, not 0."),
        ({"max_retries": True}, "invalid_config", "max_retries", "whole number"),
        ({"training": []}, "invalid_config", "training", "training must be"),
        ({"model": ""}, "invalid_model_id", "model", "at least 1"),
        ({"name": "a\nb"}, "invalid_config", "name", "direction-changing characters; it has U+000A"),
        ({"lora": {"target_modules": 3}}, "invalid_config", "lora.target_modules", "lora.target_modules"),
        ({"load_in_4bit": True, "tuning": "full"}, "invalid_config", None, "load_in_4bit needs tuning"),
    ],
)
def test_a_body_that_does_not_fit_names_field_and_range(change, code, param, message):
    with pytest.raises(InvalidRequestError) as caught:
        validate(JobConfig, json.dumps(BASE | change))
    assert (caught.value.code, caught.value.param) == (code, param)
    assert message in caught.value.message
    assert "script" not in caught.value.message


def test_a_missing_model_is_no_invalid_model_id():
    with pytest.raises(InvalidRequestError) as caught:
        validate(JobConfig, json.dumps({"dataset": "ds-1"}))
    assert (caught.value.code, caught.value.message) == ("invalid_config", "model is required.")


def test_a_misspelt_key_is_named_before_the_field_it_leaves_missing():
    with pytest.raises(InvalidRequestError) as caught:
        validate(JobConfig, json.dumps({"modle": "org/name", "dataset": "ds-1"}))
    assert (caught.value.code, caught.value.param) == ("unknown_field", "modle")
    assert "'model'" in caught.value.message


def test_parameters_are_checked_before_the_body(client):
    reply = client.post("/api/training/jobs", content=b"{", headers={"Idempotency-Key": "x" * 300})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_parameter")


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "multipart/form-data"])
def test_a_body_is_read_as_json_whatever_its_content_type(client, config, content_type):
    headers = {"content-type": content_type} if content_type else {}
    reply = client.post("/api/training/jobs", content=json.dumps(config), headers=headers)
    assert reply.status_code == 201, reply.text


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_a_blank_body_counts_as_none(client, config, body):
    job = client.post("/api/training/jobs", json=config).json()["id"]
    client.post(f"/api/training/jobs/{job}/pause")
    needed = client.patch(f"/api/training/jobs/{job}", content=body)
    assert (needed.status_code, needed.json()["error"]["code"]) == (422, "invalid_body")
    assert client.post(f"/api/training/jobs/{job}/resume", content=body).status_code == 202


def test_a_body_is_validated_once(monkeypatch):
    checks = []
    monkeypatch.setattr(Checked, "seen", checks)
    route = FastAPI(routes=[JsonRoute("/", _take, methods=["POST"])])
    reply = TestClient(route).post("/", content=b'{"number": 3}')
    assert (reply.json(), checks) == (3, [3])
    schema = route.openapi()["components"]["schemas"]["Checked"]
    assert schema["properties"]["number"]["type"] == "integer"


class Checked(BaseModel):
    """A body with a rule across its fields, which a check of a finished model would run again."""

    seen: ClassVar[list[int]] = []
    number: int

    @model_validator(mode="after")
    def _look(self) -> Self:
        self.seen.append(self.number)
        return self


async def _take(body: JsonBody[Checked]) -> int:
    return body.number

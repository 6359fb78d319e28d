"""Errors survive pickle and the wire."""

import inspect
import json
import pickle

import pytest

from ftlab import errors
from ftlab.errors import FineTuneLabError, JobEndedError, error_class, from_wire

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, FineTuneLabError) and cls.__module__ == errors.__name__
]


def sample(cls: type[FineTuneLabError]) -> FineTuneLabError:
    if issubclass(cls, JobEndedError):
        return cls("It failed.", "job-1", "device_oom", ("line 1", "line 2"))
    return cls("A sentence.", "some_code", "lora.r", "req-7")


@pytest.mark.parametrize("cls", CLASSES)
def test_survives_pickle(cls):
    error = sample(cls)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert vars(again) == vars(error)
    assert str(again) == error.message


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if error_class(cls.status) is cls])
def test_survives_the_wire(cls):
    error = sample(cls)
    again = from_wire(cls.status, json.loads(json.dumps(error.to_wire())))
    assert type(again) is cls
    assert vars(again) == vars(error)


def test_every_status_that_travels_has_its_own_class():
    travelling = [cls for cls in CLASSES if cls.status and cls is not FineTuneLabError]
    assert len({cls.status for cls in travelling}) == len(travelling)
    assert all(error_class(cls.status) is cls for cls in travelling)


@pytest.mark.parametrize(("status", "cls"), [(418, errors.InvalidRequestError), (599, errors.InternalServerError)])
def test_unknown_status_gets_the_nearest_class(status, cls):
    assert error_class(status) is cls


@pytest.mark.parametrize("body", [None, [], "text", {}, {"error": "text"}, {"error": None}])
def test_a_body_of_another_shape_names_the_status(body):
    error = from_wire(503, body)
    assert isinstance(error, errors.ServiceUnavailableError)
    assert "503" in error.message


def test_wire_shape():
    assert errors.NotFoundError("No job 'x'.", "job_not_found", "job_id").to_wire("req-1") == {
        "error": {
            "message": "No job 'x'.",
            "type": "invalid_request_error",
            "param": "job_id",
            "code": "job_not_found",
            "request_id": "req-1",
        }
    }


def test_code_defaults_by_class():
    assert errors.UnreachableError("x").code == "unreachable"
    assert errors.JobFailedError("x", "job-1").code == "job_failed"

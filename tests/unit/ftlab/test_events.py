"""Payloads of events: exactly the fields that were set, and readable whatever release wrote them."""

import re
from pathlib import Path
from typing import Any

import pytest

from ftlab.schemas import (
    Event,
    EventKind,
    EventPayload,
    LogPayload,
    MetricsPayload,
    NoticePayload,
    ProgressPayload,
    ResumedPayload,
    StatusPayload,
)
from ftlab.schemas.events import parse_payload
from ftlab.status import JobStatus, ReasonCode

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "events.md"


def event(kind: str, **data: Any) -> Event:
    return Event.model_validate(
        {"job_id": "job-1", "seq": 1, "attempt": 1, "at": "2026-01-01T00:00:00Z", "kind": kind, "data": data}
    )


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        (
            StatusPayload(status=JobStatus.RUNNING, message="It trains.", reason=None),
            {"status": "running", "message": "It trains.", "reason": None},
        ),
        (
            MetricsPayload(step=3, total_steps=9, epoch=0.5, eta_s=None, values={"loss": 1.5}),
            {"step": 3, "total_steps": 9, "epoch": 0.5, "eta_s": None, "values": {"loss": 1.5}},
        ),
        (NoticePayload(code="pause", message="A pause."), {"code": "pause", "message": "A pause."}),
    ],
)
def test_data_has_the_fields_that_were_set_and_no_other(payload: EventPayload, data: dict[str, Any]):
    assert payload.to_data() == data
    assert list(payload.to_data()) == list(data)
    assert parse_payload(payload.kind, data) == payload


def test_every_kind_has_a_payload_type():
    required = {"status": "failed", "step": 1, "code": "x"}
    kinds = {parse_payload(kind, required).kind for kind in EventKind}
    assert kinds == set(EventKind)


def test_the_payload_of_an_event_has_types():
    failed = event("status", status="failed", message="No.", reason="device_oom").payload
    assert isinstance(failed, StatusPayload)
    assert (failed.status, failed.reason) == (JobStatus.FAILED, ReasonCode.DEVICE_OOM)
    measured = event("metrics", step=2, values={"loss": None, "grad_norm": 1}).payload
    assert isinstance(measured, MetricsPayload)
    assert (measured.values, measured.eta_s) == ({"loss": None, "grad_norm": 1.0}, None)


def test_a_receipt_is_a_notice_of_its_own_type_also_from_an_older_release():
    receipt = event("notice", code="resumed", message="Resumed.", step=4, bit_exact=True).payload
    assert isinstance(receipt, ResumedPayload)
    assert (receipt.step, receipt.bit_exact, receipt.file) == (4, True, None)
    other = event("notice", code="resuming", message="Resuming.", step=4).payload
    assert not isinstance(other, ResumedPayload)


def test_fields_of_a_later_release_are_kept():
    line = event("log", level="info", text="a line", source="worker-1")
    assert line.payload == LogPayload(level="info", text="a line", source="worker-1")
    assert line.payload.to_data() == line.data


@pytest.mark.parametrize("payload", [*EventPayload.__subclasses__(), MetricsPayload, ResumedPayload])
def test_every_field_is_documented(payload: type[EventPayload]):
    text = REFERENCE.read_text("utf-8")
    row = re.search(rf"^\| `{payload.kind}` \|.*$", text, re.MULTILINE)
    assert row
    where = text if issubclass(payload, NoticePayload) or payload is ProgressPayload else row[0]
    own = set(payload.model_fields) - (set(ProgressPayload.model_fields) if payload is MetricsPayload else set())
    assert [name for name in own if f"`{name}`" not in where] == []


def test_the_schema_of_data_names_the_payload_types():
    schema = Event.model_json_schema()
    named = {choice["$ref"].rsplit("/", 1)[-1] for choice in schema["properties"]["data"]["anyOf"]}
    assert {MetricsPayload.__name__, ResumedPayload.__name__, StatusPayload.__name__} <= named
    assert named <= set(schema["$defs"])

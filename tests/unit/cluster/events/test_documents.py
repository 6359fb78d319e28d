"""An event's text for followers is what the events endpoint answers."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from cluster.events.documents import to_document
from ftlab.schemas import Event, EventKind
from ftlab.status import JobStatus
from tracking.store.records import EventRecord

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("at", [NOON, NOON + timedelta(microseconds=1), NOON + timedelta(milliseconds=20)])
def test_the_text_is_the_event_in_one_line_of_ascii(at: datetime):
    data = {"level": "info", "text": "naïve\n😀", "sent": 1.5, "lost": None}
    record = EventRecord("job-1", 3, 1, at, EventKind.LOG, data, "local", 70)
    document = to_document(record)
    assert document[:-1] == ("job-1", 3, "local", 70, "log", False)
    assert document.text.isascii()
    assert "\n" not in document.text
    event = Event.of(record)
    assert list(json.loads(document.text).items()) == list(event.model_dump(mode="json").items())


@pytest.mark.parametrize("status", JobStatus)
def test_a_terminal_status_is_an_end(status: JobStatus):
    data = {"status": status.value, "message": "", "reason": None}
    assert (
        to_document(EventRecord("job-1", 1, 1, NOON, EventKind.STATUS, data, "local", 1)).is_end is status.is_terminal
    )

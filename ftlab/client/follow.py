"""Following a job: its events in order, each once, over any number of broken connections.

The WebSocket is the fast way, the recorded events are the sure one. Whatever goes wrong with the socket - refused,
cut, silent, a gap in the sequence - the events endpoint closes the gap, waits out an outage by the rules of
`retry`, and says what is really wrong, such as an unknown job. Then the socket is opened again after the last
sequence number seen.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ftlab.client import calls
from ftlab.client.endpoint import Endpoint, RetryPolicy
from ftlab.client.flows import call
from ftlab.client.steps import Emit, OpenSocket, SendText, Sleep, Stream, receive
from ftlab.client.wire import SocketClosed
from ftlab.schemas import Event

SILENCE_S = 45.0
"""A socket with nothing to read for three of the service's pings is dead."""
POLL_S = 1.0
REOPEN = RetryPolicy(first_delay_s=0.5, max_delay_s=15.0)
"""How long events are polled before the socket is opened again, by the sockets that brought nothing."""


@dataclass
class _Cursor:
    """The newest event that was handed out."""

    seq: int

    def fresh(self, events: Sequence[Event]) -> list[Event]:
        """Those not handed out yet."""
        return [event for event in events if event.seq > self.seq]


def follow(endpoint: Endpoint, job: str, after: int) -> Stream[None]:
    """Emit the events after `after`, recorded and live, until the job has ended."""
    # The socket wants the id itself; everywhere else a name or a prefix will do.
    job_id = (yield from call(endpoint, calls.get_job(job))).id
    cursor = _Cursor(after)
    num_failures = 0
    while True:
        before = cursor.seq
        if (yield from _listen(endpoint, job_id, cursor)):
            return
        num_failures = 1 if cursor.seq > before else num_failures + 1
        poll_for_s = REOPEN.delay_s(num_failures, endpoint.jitter())
        if (yield from _poll(endpoint, job_id, cursor, poll_for_s)):
            return


def _listen(endpoint: Endpoint, job_id: str, cursor: _Cursor) -> Stream[bool]:
    """Emit what one socket brings; return whether the job has ended, False when the socket is of no use."""
    try:
        yield OpenSocket(calls.socket_path(job_id), cursor.seq)
        endpoint.has_answered = True
        while True:
            kind, events = _read_frame((yield from receive(SILENCE_S)))
            if kind == "end":
                return True
            if kind == "events":
                yield from _take(endpoint, job_id, cursor, events)
                yield SendText(json.dumps({"type": "ack", "seq": cursor.seq}))
    except SocketClosed:
        return False


def _read_frame(text: str) -> tuple[str, list[Event]]:
    """The frame's type and its events. Kinds of frames that a later service may add are let through."""
    try:
        frame = json.loads(text)
        if frame["type"] == "error":
            raise SocketClosed("the service refused the socket")
        return frame["type"], [Event.model_validate(event) for event in frame.get("events", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SocketClosed("a frame cannot be read") from None


def _take(endpoint: Endpoint, job_id: str, cursor: _Cursor, events: Sequence[Event]) -> Stream[None]:
    for event in cursor.fresh(events):
        if event.seq > cursor.seq + 1:
            yield from _catch_up(endpoint, job_id, cursor)
        if event.seq > cursor.seq:
            cursor.seq = event.seq
            yield Emit(event)


def _poll(endpoint: Endpoint, job_id: str, cursor: _Cursor, poll_for_s: float) -> Stream[bool]:
    """Emit recorded events for a while; return whether the job has ended."""
    until = endpoint.clock() + poll_for_s
    while True:
        yield from _catch_up(endpoint, job_id, cursor)
        found = yield from call(endpoint, calls.get_job(job_id))
        if found.status.is_terminal and found.last_seq <= cursor.seq:
            return True
        left_s = until - endpoint.clock()
        if left_s <= 0:
            return False
        yield Sleep(min(POLL_S, left_s))


def _catch_up(endpoint: Endpoint, job_id: str, cursor: _Cursor) -> Stream[None]:
    while True:
        page = yield from call(endpoint, calls.events_page(job_id, cursor.seq))
        for event in cursor.fresh(page.data):
            cursor.seq = event.seq
            yield Emit(event)
        if not page.data or cursor.seq >= page.last_seq:
            return

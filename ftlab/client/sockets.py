"""Calls of websockets, the meaning of their failures, and what a socket and its fallback bring."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection as AsyncClientConnection
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection

from ftlab.client.endpoint import Endpoint
from ftlab.client.wire import CONNECT_TIMEOUT_S, SocketClosed, reason_of, segment
from ftlab.schemas import Event, WireModel

MAX_FRAME_BYTES = 32 * 1024**2
ACK_EVENTS = 100
ACK_CHARS = 1024**2


class EventsPage(WireModel):
    """Events after some sequence number; `last_seq` is the newest there is."""

    data: list[Event]
    last_seq: int


class Acks:
    """When to acknowledge: long before the service waits for it, at 1,000 events or 8 MiB, and not after each message.

    An ack takes more of the service's time than a message.
    """

    def __init__(self) -> None:
        self._num_events = 0
        self._num_chars = 0

    def is_due(self, text: str, num_events: int) -> bool:
        """Whether to acknowledge once the events of this frame have been read."""
        self._num_events += num_events
        self._num_chars += len(text)
        if self._num_events < ACK_EVENTS and self._num_chars < ACK_CHARS:
            return False
        self._num_events = self._num_chars = 0
        return True


def socket_options(endpoint: Endpoint, job_id: str, after: int) -> dict[str, Any]:
    """Arguments of `connect` of websockets, sync and asyncio."""
    query = {"after": str(after)} | ({"owner": endpoint.owner} if endpoint.owner else {})
    return {
        "uri": f"{endpoint.socket_url}/ws/training/{segment(job_id)}?{urlencode(query)}",
        "additional_headers": endpoint.headers,
        "user_agent_header": None,
        "compression": None,
        "proxy": None if endpoint.is_loopback else True,
        "open_timeout": CONNECT_TIMEOUT_S,
        "close_timeout": 1.0,
        "max_size": MAX_FRAME_BYTES,
    }


async def async_receive(socket: AsyncClientConnection, timeout_s: float) -> str:
    """The next text frame."""
    async with asyncio.timeout(timeout_s):
        return await socket.recv(decode=True)


def receive(socket: ClientConnection, timeout_s: float) -> str:
    """The next text frame."""
    return socket.recv(timeout_s, decode=True)


def read_frame(text: str) -> tuple[str, list[Event]]:
    """The frame's type and its events. Kinds of frames that a later service may add are let through.

    Raises `SocketClosed` for an error frame and for a frame that cannot be read.
    """
    try:
        frame = json.loads(text)
        kind = frame["type"]
        events = frame.get("events", ()) if kind == "events" else ()
        if kind != "error":
            return kind, [Event.model_validate(event) for event in events]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SocketClosed("a frame cannot be read") from None
    raise SocketClosed("the service refused the socket")


@contextmanager
def socket_faults() -> Iterator[None]:
    """Raise `SocketClosed` for whatever websockets raises when a socket cannot be opened or breaks."""
    try:
        yield
    except (OSError, TimeoutError, EOFError, WebSocketException) as error:
        raise SocketClosed(reason_of(error)) from error

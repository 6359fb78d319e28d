"""The live streams as server-sent events: of one job, and of all jobs of the caller.

The format is that of the HTML standard, section 9.2; `EventSource` in browsers reads it and reconnects by itself.
"""

import json
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ftlab.errors import MalformedRequestError
from ftlab.schemas import EventKind
from serve.context import Caller, CallerContext, until_access_ends
from serve.http.query import JobId
from serve.http.responses import in_thread
from serve.streams.descriptions import MEDIA_TYPE
from serve.streams.event_pages import Frame
from serve.streams.live_stream import (
    CLIENT_LEFT,
    MAX_RATE,
    MIN_RATE,
    CloseReason,
    LiveStream,
    StreamClosed,
    StreamOptions,
    StreamStart,
    find_job,
    find_owner,
    number_in,
    until_first,
)

KIND = "server_sent_events"
"""Label of these streams in the metrics."""
RECONNECT_MS = 1000
"""How long a browser waits before it connects again."""
ROOM_EVENTS = 1_000
"""Most events of one message; the connection itself limits how many are under way."""
MAX_REPLY_BYTES = 64 * 1024**2
"""After this size, a stream ends and continues over another connection. Serve's Python proxy buffers what a client does
not read: this limits how much."""

router = APIRouter(prefix="/api/training", tags=["streams"])

logger = logging.getLogger(__name__)


class ServerSentEvents(Response):
    """A reply that ends with its stream."""

    media_type = MEDIA_TYPE

    def __init__(self, caller: CallerContext, start: StreamStart, options: StreamOptions) -> None:
        """Raise `RateLimitError` when the caller has too many streams open."""
        caller.services.limits.check_stream(caller.identity.key_id)
        # Neither a cache nor a proxy may keep what it has.
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._services = caller.services
        self._key_id = caller.identity.key_id
        self._start = start
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        connection = EventReply(send)
        services, start = self._services, self._start
        counted = services.limits.stream(self._key_id)
        with counted, services.feed.follow(start.log) as subscription, services.metrics.stream(KIND):
            stream = LiveStream(connection, start, self._options, services.store, services.feed, subscription)
            reason = CLIENT_LEFT
            try:
                await connection.open(start.after)
                await until_first(stream.run(), _wait_until_gone(receive), until_access_ends(HTTPConnection(scope)))
            except StreamClosed as closed:
                reason = closed.reason
                await connection.close(closed)
            finally:
                services.metrics.count_closed_stream(KIND, reason)


class EventReply:
    """A connection over the body of a reply; the client's TCP window limits what is under way."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._num_bytes = 0

    def room(self) -> int:
        if self._num_bytes >= MAX_REPLY_BYTES:
            raise StreamClosed(CloseReason.RECONNECT, "The stream continues over another connection.")
        return ROOM_EVENTS

    async def open(self, after: int) -> None:
        await self._write(f"retry: {RECONNECT_MS}\n".encode(), more_body=True)
        await self.send_message({"type": "open", "position": after}, after)

    async def send_events(self, frame: Frame) -> None:
        await self._write(frame.message)

    async def send_message(self, message: dict[str, Any], number: int | None = None) -> None:
        head = "" if number is None else f"id: {number}\n"
        await self._write(f"{head}event: {message['type']}\ndata: {json.dumps(message)}\n\n".encode())

    async def send_ping(self, number: int) -> None:
        await self._write(f": ping\nid: {number}\n\n".encode())

    async def close(self, closed: StreamClosed) -> None:
        """Say why the stream ends, and end it. A client that does not read is cut off instead."""
        if closed.reason is CloseReason.TOO_SLOW:
            logger.info("A stream was cut off: %s", closed.message)
            raise ClientDisconnect
        if closed.reason is not CloseReason.JOB_ENDED:
            await self.send_message({"type": "close", "code": closed.reason, "message": closed.message})
        await self._write(b"", more_body=False)

    async def _write(self, body: bytes, *, more_body: bool = True) -> None:
        self._num_bytes += len(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": more_body})


def _options(
    after: Annotated[
        int | None,
        Query(ge=0, le=2**53, description="Number of the last event that you have."),
    ] = None,
    kind: Annotated[list[EventKind] | None, Query(description="Kinds of events to send; default: all.")] = None,
    rate: Annotated[
        float | None,
        Query(
            ge=MIN_RATE,
            le=MAX_RATE,
            description="Most messages with events in a second: those in between come together. Default: at once.",
        ),
    ] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="Number of the last event, as browsers send it when they reconnect; replaces `after`.",
        ),
    ] = None,
) -> StreamOptions:
    kinds = frozenset(map(str, kind)) if kind else None
    return StreamOptions(_number(last_event_id) if last_event_id else after, kinds, rate)


Options = Annotated[StreamOptions, Depends(_options)]


@router.get(
    "/events/stream",
    status_code=200,
    response_class=ServerSentEvents,
    summary="Stream the events of all jobs as server-sent events",
)
async def stream_all_jobs(caller: Caller, options: Options) -> Response:
    """Events after `after`, in the order in which they were recorded, then live ones. By default from now on."""
    start = await in_thread(find_owner, caller.services.store, caller.owner, options.after)
    return ServerSentEvents(caller, start, options)


@router.get(
    "/jobs/{job_id}/events/stream",
    status_code=200,
    response_class=ServerSentEvents,
    responses={204: {"description": "The job has ended, and `Last-Event-ID` is its last event."}},
    summary="Stream the events of a job as server-sent events",
)
async def stream_job(
    caller: Caller,
    job_id: JobId,
    options: Options,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", include_in_schema=False)] = None,
) -> Response:
    """Events after `after`, then live ones until the job has ended."""
    start = await in_thread(find_job, caller.services.store, caller.owner, job_id, options.after)
    if last_event_id and start.end and start.after >= start.end[0]:
        return Response(status_code=204)  # a browser would reconnect forever otherwise
    return ServerSentEvents(caller, start, options)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _number(text: str) -> int:
    number = number_in(text)
    if number is None:
        raise MalformedRequestError(
            "Last-Event-ID must be the id of a message of this stream.", "invalid_after", "last-event-id"
        )
    return number

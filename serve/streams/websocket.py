"""The live streams over WebSockets: `/ws/training/{job_id}` of one job, `/ws/training` of all jobs of the caller."""

import asyncio
import json
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.datastructures import Headers, QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from ftlab.errors import (
    AuthenticationError,
    FineTuneLabError,
    MalformedRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServiceUnavailableError,
)
from ftlab.schemas import EventKind
from ftlab.settings import LOOPBACK_HOSTS
from serve.access.identity import identity_of
from serve.context import Services, admit, owner_of, until_access_ends
from serve.http.errors import request_id_of
from serve.http.query import OWNER
from serve.http.responses import in_thread
from serve.streams.event_pages import Frame, Kinds
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
from serve.streams.logs import OwnerLog
from serve.streams.subscriptions import EventFeed, StreamLimits, Subscription
from tracking.store import Store

NORMAL, FORBIDDEN, RESTARTING, TRY_AGAIN = 1000, 1008, 1012, 1013
BAD_REQUEST, NO_KEY, NOT_ALLOWED, NOT_FOUND, TOO_SLOW = 4400, 4401, 4403, 4404, 4408
"""WebSocket close codes; those above 4000 are specific to this service."""
CLOSE_CODES = {
    CloseReason.JOB_ENDED: NORMAL,
    CloseReason.SERVICE_RESTARTS: RESTARTING,
    CloseReason.TOO_SLOW: TOO_SLOW,
    CloseReason.ACCESS_ENDED: NO_KEY,
    CloseReason.JOB_DELETED: NOT_FOUND,
    CloseReason.UNAVAILABLE: TRY_AGAIN,
}
"""By the reasons for which a stream over a WebSocket ends."""
MAX_CLIENT_FRAME_BYTES = 64 * 1024
CLOSE_TIMEOUT_S = 1.0
KIND = "websocket"
"""Label of these streams in the metrics."""
WAKE_MARGIN_S = 0.01

router = APIRouter()


class CloseSocket(Exception):
    """Closes a socket with a close code and, after an error of the client, an error frame."""

    def __init__(self, code: int, reason: str = "", error: FineTuneLabError | None = None) -> None:
        super().__init__(code, reason, error)
        self.code = code
        self.reason = reason or (error.code if error else "")
        self.error = error


@router.websocket("/ws/training/{job_id}")
async def follow_job(websocket: WebSocket, job_id: str) -> None:
    """Stream the job's events after `?after=SEQ`."""
    await _follow(websocket, partial(find_job, job=job_id))


@router.websocket("/ws/training")
async def follow_all_jobs(websocket: WebSocket) -> None:
    """Stream the events of all jobs of the caller after `?after=POSITION`, or from now on."""
    await _follow(websocket, find_owner)


def is_allowed_origin(headers: Headers) -> bool:
    """Whether the page that opens the socket, which browsers name, is of this service or of the user's own machine."""
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        page, here = urlsplit(origin), urlsplit(f"{urlsplit(origin).scheme}://{headers.get('host', '')}")
        default_port = {"http": 80, "https": 443}.get(page.scheme)
        if page.hostname is None or default_port is None:
            return False
        same_host = (page.hostname, page.port or default_port) == (here.hostname, here.port or default_port)
    except ValueError:
        return False
    return same_host or page.hostname in LOOPBACK_HOSTS


class EventSocket:
    """A connection that may be a window ahead of what its client has acknowledged."""

    def __init__(self, websocket: WebSocket, limits: StreamLimits, subscription: Subscription) -> None:
        self._websocket = websocket
        self._limits = limits
        self._subscription = subscription
        self._sent = 0
        """Number of the last event that the client has, or will have."""
        self._in_flight: deque[Frame] = deque()
        """Frames that are not acknowledged completely."""
        self._num_acked = 0
        """How many events of the first of them are acknowledged."""
        self._num_in_flight = self._bytes_in_flight = 0
        self._now = asyncio.get_running_loop().time
        self._is_full_since: float | None = None

    async def stream(self, start: StreamStart, options: StreamOptions, store: Store, feed: EventFeed) -> None:
        """Serve the client until one side closes."""
        self._sent = start.after
        sending = LiveStream(self, start, options, store, feed, self._subscription)
        if isinstance(start.log, OwnerLog):
            await self.send_message({"type": "open", "position": start.after})
        await until_first(sending.run(), self._receive_acks())

    def room(self) -> int:
        room = self._limits.window_events - self._num_in_flight
        if self._bytes_in_flight < self._limits.window_bytes and room > 0:
            self._is_full_since = None
            return room
        if self._is_full_since is None:
            self._is_full_since = self._now()
            # Nothing else may wake the stream in time.
            wake = self._subscription.wake.set
            asyncio.get_running_loop().call_later(self._limits.ack_timeout_s + WAKE_MARGIN_S, wake)
        if self._now() >= self._is_full_since + self._limits.ack_timeout_s:
            limit_s = self._limits.ack_timeout_s
            raise StreamClosed(CloseReason.TOO_SLOW, f"no ack in {limit_s:g} s with a full window")
        return 0

    async def send_events(self, frame: Frame) -> None:
        self._sent = frame.last
        self._in_flight.append(frame)
        self._num_in_flight += frame.num_events
        self._bytes_in_flight += len(frame.text)
        await self._websocket.send_text(frame.text)

    async def send_message(self, message: dict[str, Any], number: int | None = None) -> None:
        await self._websocket.send_text(json.dumps(message))

    async def send_ping(self, number: int) -> None:
        await self._websocket.send_text('{"type":"ping"}')

    async def _receive_acks(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            self._take_ack(_parse_ack(message.get("text")))

    def _take_ack(self, number: int) -> None:
        if number > self._sent:
            raise _bad_request(f"Only events up to {self._sent} were sent.", "seq_in_future", "seq")
        num_before = self._num_in_flight
        while self._in_flight and self._in_flight[0].last <= number:
            frame = self._in_flight.popleft()
            self._num_in_flight -= frame.num_events - self._num_acked
            self._bytes_in_flight -= len(frame.text)
            self._num_acked = 0
        if self._in_flight:
            num_acked = max(self._num_acked, bisect_right(self._in_flight[0].numbers, number))
            self._num_in_flight -= num_acked - self._num_acked
            self._num_acked = num_acked
        if self._num_in_flight < num_before and self._is_full_since is not None:
            self._is_full_since = None
            self._subscription.wake.set()


async def _follow(websocket: WebSocket, find: Callable[..., StreamStart]) -> None:
    services: Services = websocket.app.state.services
    if not is_allowed_origin(websocket.headers):
        await websocket.close(FORBIDDEN)
        return
    await websocket.accept()
    try:
        await _stream(websocket, services, find)
    except WebSocketDisconnect:
        return
    except CloseSocket as closing:
        await _close(websocket, closing)
    except StreamClosed as closed:
        code = CLOSE_CODES[closed.reason]
        await _close(websocket, CloseSocket(code, "" if closed.error else closed.message, closed.error))


async def _stream(websocket: WebSocket, services: Services, find: Callable[..., StreamStart]) -> None:
    options = _parse_options(websocket.query_params)
    try:
        await admit(websocket)
        key_id = identity_of(websocket).key_id
        services.limits.check_stream(key_id)
        owner = await owner_of(websocket, websocket.query_params.get(OWNER))
        start = await in_thread(find, services.store, owner, after=options.after)
    except AuthenticationError as error:
        raise CloseSocket(NO_KEY, error=error) from None
    except PermissionDeniedError as error:
        raise CloseSocket(NOT_ALLOWED, error=error) from None
    except NotFoundError as error:
        raise CloseSocket(NOT_FOUND, error=error) from None
    except (RateLimitError, ServiceUnavailableError) as error:
        raise CloseSocket(TRY_AGAIN, error=error) from None
    except FineTuneLabError as error:
        raise CloseSocket(BAD_REQUEST, error=error) from None
    counted = services.limits.stream(key_id)
    with counted, services.feed.follow(start.log) as subscription, services.metrics.stream(KIND):
        connection = EventSocket(websocket, services.feed.limits, subscription)
        reason = CLIENT_LEFT
        try:
            streaming = connection.stream(start, options, services.store, services.feed)
            await until_first(streaming, until_access_ends(websocket))
        except StreamClosed as closed:
            reason = closed.reason
            raise
        finally:
            services.metrics.count_closed_stream(KIND, reason)


async def _close(websocket: WebSocket, closing: CloseSocket) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            if closing.error:
                body = closing.error.to_wire(request_id_of(websocket))
                await websocket.send_text(json.dumps({"type": "error", **body}))
            await websocket.close(closing.code, closing.reason)
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        # The client is gone (Starlette raises either of two errors), or so far behind that not even a close frame gets
        # through.
        return


def _parse_options(query: QueryParams) -> StreamOptions:
    return StreamOptions(_parse_after(query.get("after")), _parse_kinds(query), _parse_rate(query.get("rate")))


def _parse_after(text: str | None) -> int | None:
    if text is None:
        return None
    number = number_in(text)
    if number is None:
        raise _bad_request("after must be a whole number from 0.", "invalid_after", "after")
    return number


def _parse_kinds(query: QueryParams) -> Kinds:
    kinds = frozenset(query.getlist("kind"))
    if not kinds:
        return None
    if not kinds <= set(EventKind):
        raise _bad_request(f"kind must be one of {', '.join(EventKind)}.", "invalid_parameter", "kind")
    return kinds


def _parse_rate(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not MIN_RATE <= rate <= MAX_RATE:
        message = f"rate must be a number from {MIN_RATE:g} to {MAX_RATE:g}."
        raise _bad_request(message, "invalid_parameter", "rate")
    return rate


def _parse_ack(text: str | None) -> int:
    if text is None or len(text.encode()) > MAX_CLIENT_FRAME_BYTES:
        raise _bad_request("Frames are text of at most 64 KiB.", "invalid_frame")
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad_request("A frame is not valid JSON.", "invalid_frame") from None
    number = frame.get("seq") if isinstance(frame, dict) and frame.get("type") == "ack" else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise _bad_request('Clients send {"type": "ack", "seq": N} only.', "invalid_frame")
    return number


def _bad_request(message: str, code: str, param: str | None = None) -> CloseSocket:
    return CloseSocket(BAD_REQUEST, error=MalformedRequestError(message, code, param))

"""The live stream of one job over a WebSocket: replay from `after`, then live, without gaps or duplicates.

A socket keeps a few numbers and a small buffer. Events that are not sent yet stay in the database, so a slow
client costs nothing, and one that does not read at all is disconnected.
"""

import asyncio
import json
from collections import deque
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.datastructures import Headers
from starlette.websockets import WebSocket, WebSocketDisconnect

from ftlab.errors import (
    ConflictError,
    FineTuneLabError,
    MalformedRequestError,
    NotFoundError,
    ServiceUnavailableError,
)
from ftlab.settings import LOOPBACK_HOSTS
from ftlab.status import JobStatus
from serve.context import Services, owner_of
from serve.http.errors import request_id_of
from serve.http.responses import in_thread
from serve.streams.event_pages import EventSlice, job_deleted
from serve.streams.subscriptions import EventFeed, Subscription
from tracking.store import Store
from tracking.store.ids import JOB_ID
from tracking.store.records import JobRecord

NORMAL, FORBIDDEN, RESTARTING, TRY_AGAIN = 1000, 1008, 1012, 1013
BAD_REQUEST, NOT_FOUND, TOO_SLOW = 4400, 4404, 4408
"""WebSocket close codes; those above 4000 are specific to this service."""
MAX_CLIENT_FRAME_BYTES = 64 * 1024
CLOSE_TIMEOUT_S = 1.0

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
    services: Services = websocket.app.state.services
    if not is_allowed_origin(websocket.headers):
        await websocket.close(FORBIDDEN)
        return
    await websocket.accept()
    try:
        job_id = await _find_id(websocket, services.store, job_id)
    except CloseSocket as closing:
        await _close(websocket, closing)
        return
    with services.feed.follow(job_id) as subscription:
        await JobSocket(websocket, job_id, services.store, services.feed, subscription).run()


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


class JobSocket:
    """The connection of one client that follows one job."""

    def __init__(
        self, websocket: WebSocket, job_id: str, store: Store, feed: EventFeed, subscription: Subscription
    ) -> None:
        self._websocket = websocket
        self._job_id = job_id
        self._store = store
        self._feed = feed
        self._limits = feed.limits
        self._subscription = subscription
        self._sent = self._acked = 0
        self._in_flight: deque[tuple[int, int]] = deque()
        """Last sequence number and size of each frame that is not acknowledged."""
        self._bytes_in_flight = 0
        self._slice: EventSlice | None = None
        """Events that are partly sent."""
        self._end: tuple[int, JobStatus] | None = None
        """Last sequence number of the stream and the job's status there, once known."""
        self._now = asyncio.get_running_loop().time
        self._ping_at = self._now() + self._limits.ping_interval_s

    async def run(self) -> None:
        """Serve the client until one side closes."""
        try:
            await self._open()
            await self._stream()
        except WebSocketDisconnect:
            return
        except CloseSocket as closing:
            await _close(self._websocket, closing)

    async def _open(self) -> None:
        try:
            after = _parse_after(self._websocket.query_params.get("after"))
            job = await in_thread(_get_job, self._store, self._job_id, owner_of(self._websocket))
            if after > job.last_seq:
                raise _bad_request(f"The job's newest event is {job.last_seq}.", "seq_in_future", "after")
        except NotFoundError as error:
            raise CloseSocket(NOT_FOUND, error=error) from None
        except ServiceUnavailableError as error:
            raise CloseSocket(TRY_AGAIN, error=error) from None
        self._sent = self._acked = after
        self._note_end(job)

    async def _stream(self) -> None:
        tasks = [asyncio.create_task(self._send_events()), asyncio.create_task(self._receive_acks())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_events(self) -> None:
        while True:
            self._subscription.wake.clear()
            if self._feed.stopping:
                raise CloseSocket(RESTARTING, "the service restarts")
            if self._end and self._sent >= self._end[0]:
                await self._send(json.dumps({"type": "end", "status": self._end[1]}))
                raise CloseSocket(NORMAL)
            if self._is_window_full():
                await self._wait_for_ack()
            elif events := await self._next_slice():
                await self._send_frame(events)
            else:
                await self._wait()

    async def _next_slice(self) -> EventSlice | None:
        if self._slice and self._slice.last > self._sent:
            return self._slice
        self._slice = self._subscription.take(self._sent)
        if self._slice or not self._subscription.stale:
            return self._slice
        self._subscription.begin_read()
        try:
            self._slice = await self._feed.pages.after(self._store, self._job_id, self._sent)
        except ServiceUnavailableError:
            # The feed wakes its sockets again soon.
            self._subscription.stale = True
            return None
        except NotFoundError as error:
            raise CloseSocket(NOT_FOUND, error=error) from None
        self._subscription.stale |= self._slice is not None
        return self._slice

    async def _send_frame(self, events: EventSlice) -> None:
        frame = events.frame(self._sent, self._limits.window_events - (self._sent - self._acked))
        # Counted first, because the ack may arrive before `send` returns.
        self._sent = frame.last
        self._in_flight.append((frame.last, len(frame.text)))
        self._bytes_in_flight += len(frame.text)
        await self._send(frame.text)
        if events.has_end and self._sent == events.last:
            await self._find_end()

    async def _find_end(self) -> None:
        """Look up whether the job is still terminal: a completed one may have been reopened since."""
        try:
            job = await in_thread(_get_job, self._store, self._job_id, owner_of(self._websocket))
        except NotFoundError:
            raise CloseSocket(NOT_FOUND, error=job_deleted(self._job_id)) from None
        except ServiceUnavailableError as error:
            raise CloseSocket(TRY_AGAIN, error=error) from None
        self._note_end(job)

    def _note_end(self, job: JobRecord) -> None:
        if job.status.is_terminal:
            self._end = job.last_seq, job.status

    def _is_window_full(self) -> bool:
        return (
            self._sent - self._acked >= self._limits.window_events or self._bytes_in_flight >= self._limits.window_bytes
        )

    async def _wait_for_ack(self) -> None:
        acked, deadline = self._acked, self._now() + self._limits.ack_timeout_s
        while self._acked == acked and not self._feed.stopping:
            if self._now() >= deadline:
                raise CloseSocket(TOO_SLOW, f"no ack in {self._limits.ack_timeout_s:g} s with a full window")
            self._subscription.wake.clear()
            await self._wait(deadline)

    async def _wait(self, deadline: float = float("inf")) -> None:
        """Wait until something changes or `deadline` passes; send a ping after a long silence."""
        try:
            async with asyncio.timeout_at(min(deadline, self._ping_at)):
                await self._subscription.wake.wait()
        except TimeoutError:
            if self._now() >= self._ping_at:
                await self._send('{"type":"ping"}')

    async def _send(self, text: str) -> None:
        try:
            async with asyncio.timeout(self._limits.ack_timeout_s):
                await self._websocket.send_text(text)
        except TimeoutError:
            raise CloseSocket(TOO_SLOW, f"nothing read in {self._limits.ack_timeout_s:g} s") from None
        self._ping_at = self._now() + self._limits.ping_interval_s

    async def _receive_acks(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            self._take_ack(_parse_ack(message.get("text")))

    def _take_ack(self, seq: int) -> None:
        if seq > self._sent:
            raise _bad_request(f"Only events up to {self._sent} were sent.", "seq_in_future", "seq")
        self._acked = max(self._acked, seq)
        while self._in_flight and self._in_flight[0][0] <= seq:
            self._bytes_in_flight -= self._in_flight.popleft()[1]
        self._subscription.wake.set()


async def _find_id(websocket: WebSocket, store: Store, text: str) -> str:
    """The id of the job that is given by its id, unique name or unique id prefix."""
    if JOB_ID.fullmatch(text):
        return text  # the usual case: the socket looks the job up itself
    try:
        return (await in_thread(_resolve_job, store, text, owner_of(websocket))).id
    except NotFoundError as error:
        raise CloseSocket(NOT_FOUND, error=error) from None
    except ServiceUnavailableError as error:
        raise CloseSocket(TRY_AGAIN, error=error) from None
    except ConflictError as error:
        raise CloseSocket(BAD_REQUEST, error=error) from None


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


def _resolve_job(store: Store, text: str, owner: str) -> JobRecord:
    with store.read() as tx:
        return tx.jobs.resolve(text, owner=owner)


def _get_job(store: Store, job_id: str, owner: str) -> JobRecord:
    with store.read() as tx:
        return tx.jobs.get(job_id, owner=owner)


def _parse_after(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise _bad_request("after must be a whole number from 0.", "invalid_after", "after")
    return int(text)


def _parse_ack(text: str | None) -> int:
    if text is None or len(text.encode()) > MAX_CLIENT_FRAME_BYTES:
        raise _bad_request("Frames are text of at most 64 KiB.", "invalid_frame")
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad_request("A frame is not valid JSON.", "invalid_frame") from None
    seq = frame.get("seq") if isinstance(frame, dict) and frame.get("type") == "ack" else None
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 0:
        raise _bad_request('Clients send {"type": "ack", "seq": N} only.', "invalid_frame")
    return seq


def _bad_request(message: str, code: str, param: str | None = None) -> CloseSocket:
    return CloseSocket(BAD_REQUEST, error=MalformedRequestError(message, code, param))

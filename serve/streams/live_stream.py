"""What a client of a live stream gets: replay from a number, then live, without gaps or duplicates.

A stream keeps a few numbers and a small buffer. Events that are not sent yet stay in the database, so a slow client
costs nothing, and one that does not read at all is disconnected.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

from ftlab.errors import FineTuneLabError, MalformedRequestError, NotFoundError, ServiceUnavailableError
from ftlab.status import JobStatus
from serve.http.responses import in_thread
from serve.streams.event_pages import PAGE_EVENTS, EventSlice, Frame, Kinds
from serve.streams.logs import JobLog, Log, OwnerLog, job_deleted
from serve.streams.subscriptions import EventFeed, Subscription
from tracking.store import Store
from tracking.store.records import JobRecord

MIN_RATE, MAX_RATE = 0.1, 50.0
"""Bounds of `StreamOptions.rate`."""
MAX_NUMBER_DIGITS = 18
QUEUE_INTERVAL_S = 1.0
"""Least time between two messages that the queue has changed."""


CLIENT_LEFT = "client_left"
"""Reason of streams that their clients ended, in the metrics."""


class CloseReason(StrEnum):
    """Why the service ends a stream."""

    JOB_ENDED = "job_ended"
    SERVICE_RESTARTS = "service_restarts"
    TOO_SLOW = "too_slow"
    JOB_DELETED = "job_deleted"
    UNAVAILABLE = "unavailable"
    RECONNECT = "reconnect"
    ACCESS_ENDED = "access_ended"


class StreamClosed(Exception):
    """Ends a stream; `error` is the error of the request that it comes from, if any."""

    def __init__(self, reason: CloseReason, message: str = "", error: FineTuneLabError | None = None) -> None:
        super().__init__(reason, message, error)
        self.reason = reason
        self.message = message or (error.message if error else "")
        self.error = error


@dataclass(frozen=True)
class StreamOptions:
    """What a client asks for."""

    after: int | None = None
    """Number of the last event that it has; by default, a job is streamed from its first event, and all jobs from now
    on."""
    kinds: Kinds = None
    rate: float | None = None
    """Most messages with events in a second; `None` sends each event at once."""


@dataclass(frozen=True)
class StreamStart:
    """Where a stream begins, and where it ends if its job has ended."""

    log: Log
    after: int
    end: tuple[int, JobStatus] | None = None


class Connection(Protocol):
    """The way to one client."""

    def room(self) -> int:
        """How many events may be sent now. Raises `StreamClosed` for a client without room for too long."""

    async def send_events(self, frame: Frame) -> None:
        """Send events."""

    async def send_message(self, message: dict[str, Any], number: int | None = None) -> None:
        """Send another message; `number` is where a client that reconnects continues."""

    async def send_ping(self, number: int) -> None:
        """Show that the connection is alive."""


def find_job(store: Store, owner: str, job: str, after: int | None) -> StreamStart:
    """The start of a stream of one job, given by its id, unique name or unique id prefix. Blocks.

    Raises what a look-up of the job raises, and `MalformedRequestError` (`seq_in_future`).
    """
    with store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
    after = after or 0
    if after > record.last_seq:
        raise _in_future(f"The job's newest event is {record.last_seq}.")
    return StreamStart(JobLog(record.id), after, _end_of(record))


def find_owner(store: Store, owner: str, after: int | None) -> StreamStart:
    """The start of a stream of all jobs of an owner. Blocks. Raises `MalformedRequestError` (`seq_in_future`)."""
    with store.read() as tx:
        newest = tx.events.last_position(owner)
    if after is not None and after > newest:
        raise _in_future(f"The newest event has position {newest}.")
    return StreamStart(OwnerLog(owner), newest if after is None else after)


class LiveStream:
    """Sends one log to one client."""

    def __init__(
        self,
        connection: Connection,
        start: StreamStart,
        options: StreamOptions,
        store: Store,
        feed: EventFeed,
        subscription: Subscription,
    ) -> None:
        self._connection = connection
        self._log = start.log
        self._end = start.end
        self._options = options
        self._store = store
        self._feed = feed
        self._subscription = subscription
        self._sent = start.after
        self._slice: EventSlice | None = None
        """Events that are partly sent."""
        self._unsent: Awaitable[None] | None = None
        """The rest of what was sent at once, as far as the client had room."""
        self._now = asyncio.get_running_loop().time
        self._ping_at = self._now() + feed.limits.ping_interval_s
        self._next_events_at = self._next_queue_at = float("-inf")
        self._alarm: asyncio.Handle | None = None
        self._alarm_at = 0.0

    async def run(self) -> None:
        """Send until the stream ends, which raises `StreamClosed`."""
        try:
            await self._run()
        finally:
            if self._alarm:
                self._alarm.cancel()

    async def _run(self) -> None:
        while True:
            self._subscription.wake.clear()
            if self._unsent is not None:
                unsent, self._unsent = self._unsent, None
                await self._finish(unsent)
            if self._feed.stopping:
                raise StreamClosed(CloseReason.SERVICE_RESTARTS, "The service restarts.")
            if self._end and self._sent >= self._end[0]:
                await self._send(self._connection.send_message({"type": "end", "status": self._end[1]}))
                raise StreamClosed(CloseReason.JOB_ENDED)
            if self._subscription.queue_changed and self._now() >= self._next_queue_at:
                await self._send_queue_changed()
            elif not await self._send_next_events():
                if self._subscription.deleted:
                    await self._send_deleted(self._subscription.deleted.popleft())
                else:
                    await self._wait()

    async def _send_queue_changed(self) -> None:
        self._subscription.queue_changed = False
        self._next_queue_at = self._now() + QUEUE_INTERVAL_S
        await self._send(self._connection.send_message({"type": "queue"}))

    async def _send_deleted(self, job_id: str) -> None:
        await self._send(self._connection.send_message({"type": "deleted", "job_id": job_id}))

    async def _send_next_events(self) -> bool:
        """Send what comes next, as far as the client has room; whether there was anything."""
        room = self._connection.room()
        if room <= 0 or self._now() < self._next_events_at:
            return False
        events = await self._next_slice()
        if events is None:
            return False
        frame = events.frame(self._sent, room, self._options.kinds)
        # Counted first, because the ack may arrive before `send` returns.
        self._sent = frame.last
        if frame.num_events:
            await self._send(self._connection.send_events(frame))
        if self._sent == events.last:
            self._note_pause(events)
            if events.has_end:
                await self._find_end()
        return True

    async def _next_slice(self) -> EventSlice | None:
        if self._slice and self._slice.last > self._sent:
            return self._slice
        self._slice = self._subscription.take(self._sent, joined=self._options.rate is not None)
        if self._slice or not self._subscription.stale:
            return self._slice
        self._subscription.begin_read()
        try:
            self._slice = await self._feed.pages.after(self._store, self._log, self._sent)
        except ServiceUnavailableError:
            # The feed wakes its streams again soon.
            self._subscription.stale = True
            return None
        except NotFoundError as error:
            raise StreamClosed(CloseReason.JOB_DELETED, error=error) from None
        self._subscription.stale |= self._slice is not None
        return self._slice

    def _note_pause(self, events: EventSlice) -> None:
        """Let events gather before the next message, except in a replay."""
        if self._options.rate and len(events) < PAGE_EVENTS:
            self._next_events_at = self._now() + 1.0 / self._options.rate

    async def _find_end(self) -> None:
        """Look up whether the job is still terminal: a completed one may have been reopened since."""
        if not isinstance(self._log, JobLog):
            return
        try:
            job = await in_thread(_get_job, self._store, self._log.job_id)
        except NotFoundError:
            raise StreamClosed(CloseReason.JOB_DELETED, error=job_deleted(self._log.job_id)) from None
        except ServiceUnavailableError as error:
            raise StreamClosed(CloseReason.UNAVAILABLE, error=error) from None
        self._end = _end_of(job)

    async def _wait(self) -> None:
        """Wait until something changes or is due; send a ping after a long silence."""
        now = self._now()
        if now >= self._ping_at:
            await self._send(self._connection.send_ping(self._sent))
        due = self._ping_at
        if now < self._next_events_at:
            due = min(due, self._next_events_at)
        if self._subscription.queue_changed:
            due = min(due, self._next_queue_at)
        self._set_alarm(due)
        self._subscription.send_at_once = self._send_at_once
        try:
            await self._subscription.wake.wait()
        finally:
            self._subscription.send_at_once = None

    def _send_at_once(self, events: EventSlice) -> bool:
        """Send what follows while the stream waits; `False` where the stream itself has to take the events.

        The feed calls this instead of waking the task of each stream, which would take longer than the sending.
        """
        is_plain = self._options.rate is None and self._end is None and not events.has_end
        if not is_plain or events.after != self._sent:
            return False
        try:
            room = self._connection.room()
        except StreamClosed:
            return False
        frame = events.frame(self._sent, room, self._options.kinds) if room > 0 else None
        if frame is None or frame.last != events.last:
            return False
        self._sent = frame.last
        if frame.num_events:
            self._ping_at = self._now() + self._feed.limits.ping_interval_s
            self._unsent = begin(self._connection.send_events(frame))
        if self._unsent is not None:
            self._subscription.send_at_once = None
            self._subscription.wake.set()
        return True

    def _set_alarm(self, due: float) -> None:
        """Wake up at `due` at the latest. An earlier alarm stays: setting one for each event would cost more."""
        if self._alarm is not None and self._alarm_at <= due:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        # The handle cannot be asked: uvloop's has no time where it is already due.
        self._alarm_at = due
        self._alarm = asyncio.get_running_loop().call_at(due, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self._subscription.wake.set()

    async def _send(self, sending: Coroutine[Any, Any, None]) -> None:
        if (unsent := begin(sending)) is not None:
            await self._finish(unsent)
        self._ping_at = self._now() + self._feed.limits.ping_interval_s

    async def _finish(self, unsent: Awaitable[None]) -> None:
        """Wait for a client that lags. The others need no timeout, which would cost as much as their messages."""
        limit_s = self._feed.limits.ack_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await unsent
        except TimeoutError:
            raise StreamClosed(
                CloseReason.TOO_SLOW, f"The client was too slow: nothing read in {limit_s:g} s."
            ) from None


def begin(sending: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Run a coroutine up to where it waits. Returns the rest, which raises what the beginning raised; `None` after its
    end.
    """
    try:
        waits_for = sending.send(None)
    except StopIteration:
        return None
    except Exception as error:
        return _Rest(sending, error=error)
    return _Rest(sending, waits_for)


class _Rest:
    """The rest of a coroutine that has begun, or its error. It may stay unawaited, unlike a coroutine."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], waits_for: Any = None, error: Exception | None = None
    ) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for
        self._error = error

    def __await__(self) -> Generator[Any, Any, None]:
        if self._error is not None:
            raise self._error
        waits_for = self._waits_for
        while True:
            try:
                result = yield waits_for
            except BaseException as error:
                step = partial(self._coroutine.throw, error)
            else:
                step = partial(self._coroutine.send, result)
            try:
                waits_for = step()
            except StopIteration:
                return


def number_in(text: str) -> int | None:
    """The number of an event that a client names; `None` for what cannot be one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_NUMBER_DIGITS else None


async def until_first(*running: Coroutine[Any, Any, None]) -> None:
    """Run until one of them ends or raises; the others are cancelled."""
    tasks = [asyncio.create_task(each) for each in running]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end_of(job: JobRecord) -> tuple[int, JobStatus] | None:
    return (job.last_seq, job.status) if job.status.is_terminal else None


def _in_future(message: str) -> MalformedRequestError:
    return MalformedRequestError(message, "seq_in_future", "after")


def _get_job(store: Store, job_id: str) -> JobRecord:
    with store.read() as tx:
        return tx.jobs.get(job_id)

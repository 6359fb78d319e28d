"""Distributes the events that a replica gets from the event hub to the streams that follow a log."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from cluster.interfaces import (
    DELETED_JOB,
    FROM_NOW,
    NEW_JOB,
    QUEUE_CHANGED,
    SERVICE_STOPS,
    EventDocument,
    EventHubClient,
)
from ftlab.backoff import backoff_s
from ftlab.errors import FineTuneLabError
from ftlab.schemas import EventKind
from serve.streams.event_pages import EventPages, EventSlice, slices_of
from serve.streams.logs import JobLog, Log, OwnerLog, logs_of

PENDING_EVENTS = 1_000
PENDING_BYTES = 2 * 1024**2
MAX_BACKOFF_S = 2.0
MAX_DELETED = 1_000
"""Deletions that wait until a slow client has read; the oldest are dropped beyond that."""
STOP_TIMEOUT_S = 5.0
QUEUE_KINDS = frozenset({QUEUE_CHANGED.kind, NEW_JOB, EventKind.STATUS.value})
"""Kinds of documents after which the queue of any owner may look different."""


@dataclass(frozen=True)
class StreamLimits:
    """Limits of how far a client may lag, and how long a stream may be silent."""

    window_events: int = 1_000
    """Events in flight: sent and not acknowledged."""
    window_bytes: int = 8 * 1024**2
    ack_timeout_s: float = 30.0
    """A client that reads nothing, or acknowledges nothing with a full window, for this long is disconnected."""
    ping_interval_s: float = 15.0


class Subscription:
    """The subscription of one stream: a wake-up, and a bounded buffer of the events since it last looked."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.wake = asyncio.Event()
        self.queue_changed = False
        """Whether the order of the queue, or what a job waits for, may have changed; of an owner's log only."""
        self.deleted: deque[str] = deque(maxlen=MAX_DELETED)
        """Ids of jobs that were deleted; of an owner's log only."""
        self.stale = True
        """Whether the log may have events that the feed did not deliver."""
        self.send_at_once: Callable[[EventSlice], bool] | None = None
        """Sends events without the buffer, while the stream waits for them; `False` where it cannot."""
        self._pending: deque[EventSlice] = deque()
        self._num_events = self._num_bytes = 0

    def offer(self, events: EventSlice) -> None:
        if self.send_at_once is not None and self.send_at_once(events):
            return
        self._pending.append(events)
        self._count(events, 1)
        if self._num_events > PENDING_EVENTS or self._num_bytes > PENDING_BYTES:
            self._clear()
            self.stale = True
        self.wake.set()

    def mark_stale(self) -> None:
        self.stale = True
        self.wake.set()

    def mark_queue(self) -> None:
        self.queue_changed = True
        self.wake.set()

    def mark_deleted(self, job_id: str) -> None:
        self.deleted.append(job_id)
        self.wake.set()

    def take(self, after: int, *, joined: bool = False) -> EventSlice | None:
        """The buffered events that follow `after`: the next slice, or all up to a gap. A gap makes it stale."""
        while self._pending and self._pending[0].last <= after:
            self._count(self._pending.popleft(), -1)
        if not self._pending:
            return None
        if self._pending[0].after > after:
            self.stale = True
            return None
        if not joined:
            return self._pending[0]
        found = [self._pending[0]]
        for following in islice(self._pending, 1, None):
            if following.after == found[-1].last:
                found.append(following)
        return EventSlice.joined(self.log, found)

    def begin_read(self) -> None:
        """Drop the buffer, as the caller now reads the log, which has those events; later ones are buffered."""
        self._clear()
        self.stale = False

    def _clear(self) -> None:
        self._pending.clear()
        self._num_events = self._num_bytes = 0

    def _count(self, events: EventSlice, sign: int) -> None:
        self._num_events += sign * len(events)
        self._num_bytes += sign * events.num_bytes


class EventFeed:
    """One listener on the event hub for all streams of a replica; without streams, it does not listen.

    The database is the truth, and the hub only makes it faster: streams read the database when the feed has a gap,
    every `poll_interval_s` while the hub is unavailable, and after `resync_interval_s` without an event in case one was
    lost.
    """

    def __init__(
        self,
        hub: EventHubClient,
        *,
        limits: StreamLimits | None = None,
        poll_interval_s: float = 1.0,
        resync_interval_s: float = 2.0,
    ) -> None:
        self.limits = limits or StreamLimits()
        self.pages = EventPages()
        self.stopping = False
        self._hub = hub
        self._hub_answers = self._hub_is_away = False
        self._poll_interval_s = poll_interval_s
        self._resync_interval_s = resync_interval_s
        self._subscriptions: dict[Log, set[Subscription]] = {}
        self._heard: set[Log] = set()
        """Logs with events since the last resynchronisation: a gap before these has been noticed."""
        self._followed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def num_streams(self) -> int:
        return sum(map(len, self._subscriptions.values()))

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._listen_forever()),
            asyncio.create_task(self._resync_forever()),
        ]

    async def stop(self) -> None:
        """End every stream, for its client to connect to another replica, and wait until they are gone."""
        self.stopping = True
        self._wake_all()
        deadline = asyncio.get_running_loop().time() + STOP_TIMEOUT_S
        while self.num_streams and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextmanager
    def follow(self, log: Log) -> Iterator[Subscription]:
        subscription = Subscription(log)
        self._subscriptions.setdefault(log, set()).add(subscription)
        self._followed.set()
        try:
            yield subscription
        finally:
            followers = self._subscriptions[log]
            followers.remove(subscription)
            if not followers:
                del self._subscriptions[log]
            if not self._subscriptions:
                self._followed.clear()

    async def _listen_forever(self) -> None:
        position, failures = FROM_NOW, 0
        while True:
            if not self._subscriptions:
                # Otherwise each submission would wake every replica for nothing.
                position = FROM_NOW
                await self._followed.wait()
            try:
                newest, events = await self._hub.listen(position)
            except (FineTuneLabError, OSError):
                self._hub_answers, self._hub_is_away = False, True
                failures += 1
                await asyncio.sleep(backoff_s(failures, first_s=0.2, longest_s=MAX_BACKOFF_S))
                continue
            if newest - len(events) != position:
                # The first answer, a restart of the hub, or a ring that has dropped events: some may be missing.
                self._wake_all()
                if position != FROM_NOW:
                    self._mark_queue()
            position, failures, self._hub_answers, self._hub_is_away = newest, 0, True, False
            self._deliver(events)

    def _deliver(self, events: Sequence[EventDocument]) -> None:
        if SERVICE_STOPS in events:
            self.stopping = True
            self._wake_all()
        followed: dict[Log, list[EventDocument]] = {}
        for event in events:
            if event.kind == NEW_JOB:
                self._wake(OwnerLog(event.owner))
                continue
            if event.kind == DELETED_JOB:
                self._wake(JobLog(event.job_id))
                self._mark_deleted(event)
                continue
            for log in logs_of(event):
                if log in self._subscriptions:
                    followed.setdefault(log, []).append(event)
        self._heard.update(followed)
        for log, of_log in followed.items():
            for found in slices_of(log, of_log):
                for subscription in self._subscriptions[log]:
                    subscription.offer(found)
        if any(event.kind in QUEUE_KINDS for event in events):
            self._mark_queue()

    async def _resync_forever(self) -> None:
        idle_s = 0.0
        while True:
            await asyncio.sleep(self._poll_interval_s)
            idle_s += self._poll_interval_s
            if not self._hub_answers or idle_s >= self._resync_interval_s:
                if self._hub_is_away:
                    self._mark_queue()
                idle_s = 0.0
                self._resync()

    def _resync(self) -> None:
        """Have streams read their logs, those excepted where the next event would have shown that one is missing."""
        heard = self._heard if self._hub_answers else set[Log]()
        for log in self._subscriptions.keys() - heard:
            self._wake(log)
        self._heard.clear()

    def _wake_all(self) -> None:
        for log in self._subscriptions:
            self._wake(log)

    def _wake(self, log: Log) -> None:
        for subscription in self._subscriptions.get(log, ()):
            subscription.mark_stale()

    def _mark_deleted(self, event: EventDocument) -> None:
        for subscription in self._subscriptions.get(OwnerLog(event.owner), ()):
            subscription.mark_deleted(event.job_id)

    def _mark_queue(self) -> None:
        for log, followers in self._subscriptions.items():
            if isinstance(log, OwnerLog):
                for subscription in followers:
                    subscription.mark_queue()

"""Distributes the events that a replica gets from the event hub to the sockets that follow a job."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from cluster.interfaces import FROM_NOW, SERVICE_STOPS, EventDocument, EventHubClient
from ftlab.backoff import backoff_s
from ftlab.errors import FineTuneLabError
from serve.streams.event_pages import EventPages, EventSlice, slices_of

PENDING_EVENTS = 1_000
PENDING_BYTES = 2 * 1024**2
MAX_BACKOFF_S = 2.0
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class SocketLimits:
    """Limits of how far a socket may lag, and how long it may be silent."""

    window_events: int = 1_000
    """Events in flight: sent and not acknowledged."""
    window_bytes: int = 8 * 1024**2
    ack_timeout_s: float = 30.0
    """A client with a full window that acknowledges nothing for this long is disconnected."""
    ping_interval_s: float = 15.0


class Subscription:
    """The subscription of one socket: a wake-up, and a bounded buffer of the events since it last looked."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.stale = True
        """Whether the log may have events that the feed did not deliver."""
        self._pending: deque[EventSlice] = deque()
        self._num_events = self._num_bytes = 0

    def offer(self, events: EventSlice) -> None:
        self._pending.append(events)
        self._count(events, 1)
        if self._num_events > PENDING_EVENTS or self._num_bytes > PENDING_BYTES:
            self._clear()
            self.stale = True
        self.wake.set()

    def mark_stale(self) -> None:
        self.stale = True
        self.wake.set()

    def take(self, after: int) -> EventSlice | None:
        """The buffered events that follow `after`. On a gap the subscription becomes stale."""
        while self._pending and self._pending[0].last <= after:
            self._count(self._pending.popleft(), -1)
        if not self._pending:
            return None
        if self._pending[0].first > after + 1:
            self.stale = True
            return None
        return self._pending[0]

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
    """One listener on the event hub for all sockets of a replica; without sockets, it does not listen.

    The database is the truth, and the hub only makes it faster: sockets read the database when the feed has a gap,
    every `poll_interval_s` while the hub is unavailable, and every `resync_interval_s` in case an event was lost.
    """

    def __init__(
        self,
        hub: EventHubClient,
        *,
        limits: SocketLimits | None = None,
        poll_interval_s: float = 1.0,
        resync_interval_s: float = 2.0,
    ) -> None:
        self.limits = limits or SocketLimits()
        self.pages = EventPages()
        self.stopping = False
        self._hub = hub
        self._hub_answers = False
        self._poll_interval_s = poll_interval_s
        self._resync_interval_s = resync_interval_s
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._followed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def num_sockets(self) -> int:
        return sum(map(len, self._subscriptions.values()))

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._listen_forever()),
            asyncio.create_task(self._resync_forever()),
        ]

    async def stop(self) -> None:
        """Close every socket with code 1012 and wait until they are gone."""
        self.stopping = True
        self._wake_all()
        deadline = asyncio.get_running_loop().time() + STOP_TIMEOUT_S
        while self.num_sockets and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextmanager
    def follow(self, job_id: str) -> Iterator[Subscription]:
        subscription = Subscription()
        self._subscriptions.setdefault(job_id, set()).add(subscription)
        self._followed.set()
        try:
            yield subscription
        finally:
            followers = self._subscriptions[job_id]
            followers.remove(subscription)
            if not followers:
                del self._subscriptions[job_id]
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
                self._hub_answers = False
                failures += 1
                await asyncio.sleep(backoff_s(failures, first_s=0.2, longest_s=MAX_BACKOFF_S))
                continue
            if newest - len(events) != position:
                # The first answer, a restart of the hub, or a ring that has dropped events: some may be missing.
                self._wake_all()
            position, failures, self._hub_answers = newest, 0, True
            self._deliver(events)

    def _deliver(self, events: Sequence[EventDocument]) -> None:
        if SERVICE_STOPS in events:
            self.stopping = True
            self._wake_all()
        by_job = attrgetter("job_id")
        followed = sorted((event for event in events if event.job_id in self._subscriptions), key=by_job)
        for job_id, of_job in groupby(followed, key=by_job):
            for found in slices_of(list(of_job)):
                for subscription in self._subscriptions[job_id]:
                    subscription.offer(found)

    async def _resync_forever(self) -> None:
        idle_s = 0.0
        while True:
            await asyncio.sleep(self._poll_interval_s)
            idle_s += self._poll_interval_s
            if not self._hub_answers or idle_s >= self._resync_interval_s:
                idle_s = 0.0
                self._wake_all()

    def _wake_all(self) -> None:
        for followers in self._subscriptions.values():
            for subscription in followers:
                subscription.mark_stale()

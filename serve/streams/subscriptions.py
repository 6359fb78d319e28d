"""What a replica hears of the live hub, handed to the sockets that follow a job."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cluster.interfaces import FROM_NOW, SERVICE_STOPS, HubClient
from ftlab.backoff import backoff_s
from ftlab.errors import FineTuneLabError
from serve.streams.event_pages import Batch, EventPages, runs

PENDING_EVENTS = 1_000
PENDING_BYTES = 2 * 1024**2
MAX_BACKOFF_S = 2.0
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class SocketLimits:
    """How much a socket may be behind, and how long it may be silent."""

    window_events: int = 1_000
    """Events in flight: sent and not acknowledged."""
    window_bytes: int = 8 * 1024**2
    ack_timeout_s: float = 30.0
    """A client that acknowledges nothing for so long, with a full window, is sent away."""
    ping_interval_s: float = 15.0


class Subscription:
    """One socket's place in the feed: a wake-up and a bounded buffer of what came since it last looked."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.stale = True
        """The log may hold events that the feed did not bring."""
        self._pending: deque[Batch] = deque()
        self._num_events = self._num_bytes = 0

    def offer(self, batch: Batch) -> None:
        self._pending.append(batch)
        self._count(batch, 1)
        if self._num_events > PENDING_EVENTS or self._num_bytes > PENDING_BYTES:
            self._clear()
            self.stale = True
        self.wake.set()

    def mark_stale(self) -> None:
        self.stale = True
        self.wake.set()

    def take(self, after: int) -> Batch | None:
        """The buffered batch that goes on behind `after`. On a gap the subscription becomes stale."""
        while self._pending and self._pending[0].last <= after:
            self._count(self._pending.popleft(), -1)
        if not self._pending:
            return None
        if self._pending[0].first > after + 1:
            self.stale = True
            return None
        return self._pending[0]

    def begin_read(self) -> None:
        """The caller reads the log now: what is buffered is in it, what comes from now on is kept."""
        self._clear()
        self.stale = False

    def _clear(self) -> None:
        self._pending.clear()
        self._num_events = self._num_bytes = 0

    def _count(self, batch: Batch, sign: int) -> None:
        self._num_events += sign * len(batch)
        self._num_bytes += sign * batch.num_bytes


class LiveFeed:
    """One listener on the hub for all sockets of a replica; while there is none, it does not listen.

    The hub is a hint, the database the truth: sockets look there when the feed has a gap, each
    `poll_interval_s` while the hub is away, and each `resync_interval_s` in case a hint was lost.
    """

    def __init__(
        self,
        hub: HubClient,
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
        """Send every socket away with close code 1012 and wait until they are gone."""
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
                # Otherwise each submit would wake every replica for nobody.
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
                # The first answer, another life of the hub, or the ring has moved on: something may be missing.
                self._wake_all()
            position, failures, self._hub_answers = newest, 0, True
            self._deliver(events)

    def _deliver(self, events: Sequence[dict[str, Any]]) -> None:
        if SERVICE_STOPS in events:
            self.stopping = True
            self._wake_all()
        followed = [event for event in events if event["job_id"] in self._subscriptions]
        followed.sort(key=lambda event: str(event["job_id"]))
        for job_id, of_job in groupby(followed, key=lambda event: str(event["job_id"])):
            for batch in runs(list(of_job)):
                for subscription in self._subscriptions[job_id]:
                    subscription.offer(batch)

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

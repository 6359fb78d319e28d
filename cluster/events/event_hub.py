"""The event hub: fans new events out to the API replicas. Losing it costs little, because the database has every event.

A replica holds one waiting `listen` call, whatever the number of its sockets; a publisher never waits.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

from cluster.interfaces import FROM_NOW, EventDocument
from cluster.named_actor import ActorUnreachableError, NamedActor
from cluster.names import EVENT_HUB
from ftlab.errors import ServiceUnavailableError

RING_EVENTS = 20_000
RING_BYTES = 64 * 1024**2
REPLY_EVENTS = 2_000
"""Most events of one reply: a replica that catches up does so in pieces."""
LISTEN_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 5.0
RETRY_INTERVAL_S = 1.0
BACKLOG_EVENTS = 2_000
"""Events a publisher keeps while the hub is unreachable; older ones are left to the database."""


class EventHub:
    """A ring of the newest events and the listeners that wait for more. Safe to call from any thread.

    Positions count events, from a number taken from the clock: a position of an earlier life is below this
    life's first one, so the two never mix.
    """

    def __init__(self, *, ring_events: int = RING_EVENTS, ring_bytes: int = RING_BYTES) -> None:
        self._ring: deque[EventDocument] = deque()
        self._max_events, self._max_bytes = ring_events, ring_bytes
        self._num_bytes = 0
        self._position = time.time_ns()
        self._lock = threading.Lock()
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def publish(self, events: Sequence[EventDocument]) -> None:
        """Hand events to every listener."""
        with self._lock:
            self._ring.extend(events)
            self._position += len(events)
            self._num_bytes += sum(len(event.text) for event in events)
            while len(self._ring) > self._max_events or self._num_bytes > self._max_bytes:
                self._num_bytes -= len(self._ring.popleft().text)
            for loop, woken in self._waiters:
                loop.call_soon_threadsafe(woken.set)
            self._waiters.clear()

    async def listen(self, after: int, timeout_s: float = LISTEN_TIMEOUT_S) -> tuple[int, list[EventDocument]]:
        """Wait for events newer than `after`; return the position of the last one returned, and them.

        Returns an empty list when nothing came for `timeout_s`, and at once after `FROM_NOW`. A position of another
        life, or one the ring has left behind, gets what the ring holds, at once.
        """
        waiter = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if after == FROM_NOW:
                return self._position, []
            if after != self._position:
                return self._newer(after)
            self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter[1].wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiters.discard(waiter)
        with self._lock:
            return self._newer(after)

    def _newer(self, after: int) -> tuple[int, list[EventDocument]]:
        first = self._position - len(self._ring)
        start = after if first <= after <= self._position else first
        events = list(islice(self._ring, start - first, start - first + REPLY_EVENTS))
        return start + len(events), events


class RayEventHubClient:
    """The `EventHubClient` of processes in a Ray cluster.

    `publish` puts events into a bounded backlog that one thread sends: the caller never waits for Ray, and a burst
    becomes one call: what comes within `linger_s` goes together. `listen` raises `ServiceUnavailableError` while the
    hub is unreachable.
    """

    def __init__(self, namespace: str, *, linger_s: float = 0.0) -> None:
        self._namespace = namespace
        self._linger_s = linger_s
        self._actor = NamedActor(EVENT_HUB, namespace)
        self._backlog: deque[EventDocument] = deque(maxlen=BACKLOG_EVENTS)
        self._wake = threading.Event()
        self._start = threading.Lock()
        self._sender: threading.Thread | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(RayEventHubClient, linger_s=self._linger_s), (self._namespace,)

    def publish(self, events: Sequence[EventDocument]) -> None:
        self._backlog.extend(events)
        self._wake.set()
        with self._start:
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_forever, name="ftlab-hub", daemon=True)
                self._sender.start()

    async def listen(self, after: int) -> tuple[int, list[EventDocument]]:
        try:
            timeout_s = LISTEN_TIMEOUT_S + CALL_TIMEOUT_S
            position, events = await self._actor.call_async("listen", after, timeout_s=timeout_s)
        except ActorUnreachableError as error:
            raise ServiceUnavailableError("The event hub does not answer.", "hub_unavailable") from error
        return position, events

    def _send_forever(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(self._linger_s)
            self._wake.clear()
            events = [self._backlog.popleft() for _ in range(len(self._backlog))]
            if events and not self._send(events):
                # The batch is not sent again: readers find it in the database.
                time.sleep(RETRY_INTERVAL_S)

    def _send(self, events: list[EventDocument]) -> bool:
        try:
            self._actor.call("publish", events, timeout_s=CALL_TIMEOUT_S)
        except ActorUnreachableError:
            return False
        return True

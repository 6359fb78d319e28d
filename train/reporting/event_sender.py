"""Sends events out of a training process: a lock-free buffer and one background thread."""

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple

from train.plan import Beat, RunReport, StopKind

FLUSH_INTERVAL_S = 0.05
"""Least time between two batches: a metric waits at most this long in the buffer. After a silence, the first event is
sent at once, and what the same step emits while that batch is under way follows it at once.
"""
HEARTBEAT_INTERVAL_S = 1.0
"""An empty batch is sent this often, so that silence means trouble."""


class Emitted(NamedTuple):
    """One event of a run, on its way to the run driver."""

    number: int
    """1, 2, 3, ... over the life of the sender."""
    at: datetime
    payload: RunReport


Send = Callable[[list[Emitted], Beat | None], StopKind | None]


class Emitter:
    """Collects events and sends them in batches from its own thread.

    `send` gets the events and the run's newest sign of life, and returns the stop request, if there is one. It is
    called at least every `HEARTBEAT_INTERVAL_S`. It may block and it may raise `ConnectionError`: the events are then
    sent again with those that came since, and the receiver recognises by their numbers what it already has. Training
    continues meanwhile. `deque.append` and `popleft` are atomic, so the training thread never takes a lock.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._buffer: deque[tuple[datetime, RunReport]] = deque()
        self._numbers = count(1)
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._stop: StopKind | None = None
        self._beat: Beat | None = None
        self._thread = threading.Thread(target=self._run, name="ftlab-emitter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def emit(self, payload: RunReport) -> None:
        self._buffer.append((datetime.now(UTC), payload))
        self._wake.set()

    def beat(self, beat: Beat) -> None:
        """Let the next batch carry `beat`."""
        self._beat = beat

    def stop_requested(self) -> StopKind | None:
        return self._stop

    def close(self, timeout_s: float = 30.0) -> None:
        """Send what is left, then end the thread."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        pending: list[Emitted] = []
        sent_at = float("-inf")
        is_first = False
        """Whether the last batch was the first after a silence."""
        while True:
            closing = self._closing.is_set()
            self._wake.clear()
            while self._buffer:
                pending.append(Emitted(next(self._numbers), *self._buffer.popleft()))
            if pending:
                now = time.monotonic()
                is_first, sent_at = now - sent_at > FLUSH_INTERVAL_S, now
            if self._deliver(pending):
                pending = []
                if closing and not self._buffer:
                    return
            elif closing:
                time.sleep(FLUSH_INTERVAL_S)
            if not closing and self._wake.wait(HEARTBEAT_INTERVAL_S) and not is_first:
                time.sleep(max(0.0, sent_at + FLUSH_INTERVAL_S - time.monotonic()))

    def _deliver(self, events: list[Emitted]) -> bool:
        try:
            answer = self._send(events, self._beat)
        except ConnectionError:
            return False
        self._stop = max((kind for kind in (self._stop, answer) if kind), key=lambda kind: kind.urgency, default=None)
        return True

"""The pauses between the coordinator's ticks: short when something has changed, but never most of the time ticking."""

import threading
import time
from collections.abc import Callable

INTERVAL_S = 1.0
"""The longest time between two ticks while there is something to do."""
SHORTEST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
PAUSE_PER_TICK = 9.0
"""A pause of nine times the tick: under a burst of submits ticking takes a tenth of the time."""


class TickTimer:
    """Timer that turns wake-ups into ticks. Any thread may wake it; one thread pauses."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        woken: threading.Event | None = None,
        hurried: threading.Event | None = None,
    ) -> None:
        self._clock = clock
        self._woken = woken or threading.Event()
        self._hurried = hurried or threading.Event()
        self._was_woken = False

    def wake(self) -> None:
        """Something has changed: tick at once after a quiet time, else when the pause that is under way ends."""
        self._woken.set()

    def hurry(self) -> None:
        """Devices have become free, or a caller waits: tick without a pause."""
        self._hurried.set()
        self._woken.set()

    def pause(self, tick_s: float, interval_s: float = INTERVAL_S) -> None:
        """Return when the next tick is due, right after one that took `tick_s`; after `interval_s` at the latest."""
        pause_s = min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, PAUSE_PER_TICK * tick_s)) if self._was_woken else 0.0
        ends_at = self._clock() + pause_s
        self._was_woken = self._woken.wait(interval_s)
        left_s = ends_at - self._clock()
        if self._was_woken and left_s > 0:
            self._hurried.wait(left_s)
        # What comes from now on is seen by the next tick, or wakes the one after it.
        self._woken.clear()
        self._hurried.clear()

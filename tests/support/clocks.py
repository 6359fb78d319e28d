"""A clock that a test moves, and waiting for what another thread or process does."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Time = TypeVar("Time")


class Clock(Generic[Time]):
    """Called, it gives the time that the test has set last: seconds, or a moment."""

    def __init__(self, now: Time) -> None:
        self.now = now

    def __call__(self) -> Time:
        return self.now


def wait_for(condition: Callable[[], object], timeout_s: float = 30.0, what: str = "the condition") -> None:
    """Wait until `condition` holds, which is tried often at first, and then ten times a second."""
    began = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - began
        assert waited_s < timeout_s, f"waited {timeout_s} s for {what}"
        time.sleep(min(0.1, 0.001 + waited_s / 20))

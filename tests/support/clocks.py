"""A clock that a test moves."""

from typing import Generic, TypeVar

Time = TypeVar("Time")


class Clock(Generic[Time]):
    """Called, it gives the time that the test has set last: seconds, or a moment."""

    def __init__(self, now: Time) -> None:
        self.now = now

    def __call__(self) -> Time:
        return self.now

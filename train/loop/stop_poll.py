"""Whether a run shall end or save, as all its ranks agree."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ftlab.status import StopKind
from train.all_ranks import highest
from train.plan import RunLink


class EarlyStop(Exception):
    """The run was asked to stop before it had anything to save."""

    def __init__(self, kind: StopKind) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Wish:
    """What a run is asked for at the end of a step."""

    stop: StopKind | None
    save: bool = False


class Stops:
    """Asks for stop and save requests, its own clock included. Every rank calls the same methods in the same order."""

    def __init__(
        self, link: RunLink, time_left_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._link = link
        self._clock = clock
        self._ends_at = None if time_left_s is None else clock() + time_left_s

    def at_step_end(self, *, is_last: bool) -> Wish:
        """After its last step a run has only to deliver, which no time limit shall keep it from."""
        save = self._link.save_requested()
        code, is_wanted = highest([_code(self._wanted(heeds_clock=not is_last)), int(save)])
        return Wish(_kind(code), bool(is_wanted))

    def agreed(self, *, heeds_clock: bool = True) -> StopKind | None:
        """The most urgent stop that any rank knows of."""
        [code] = highest([_code(self._wanted(heeds_clock=heeds_clock))])
        return _kind(code)

    def leave_if_asked(self) -> None:
        """Raise `EarlyStop` when a stop is wanted."""
        kind = self.agreed()
        if kind is not None:
            raise EarlyStop(kind)

    def _wanted(self, *, heeds_clock: bool) -> StopKind | None:
        wanted = self._link.stop_requested()
        is_over = heeds_clock and self._ends_at is not None and self._clock() >= self._ends_at
        if is_over and (wanted is None or wanted.urgency < StopKind.TIME_LIMIT.urgency):
            return StopKind.TIME_LIMIT
        return wanted


def _code(kind: StopKind | None) -> int:
    return 0 if kind is None else kind.urgency + 1


def _kind(code: int) -> StopKind | None:
    return next((kind for kind in StopKind if _code(kind) == code), None)

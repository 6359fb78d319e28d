"""Progress of a run whose work is counted, such as rows that are measured or tensors that are written."""

import time

from ftlab.schemas import ProgressPayload
from train.plan import RunLink

INTERVAL_S = 0.5


class WorkProgress:
    """Emits how much of the work is done, at most twice a second, with the time that the rest takes."""

    def __init__(self, link: RunLink, *, num_done: int = 0) -> None:
        """`num_done` is what earlier attempts did."""
        self._link = link
        self.num_done = num_done
        self.total = 0
        self._told_at = 0.0
        self.begin()

    def begin(self) -> None:
        """Measure the speed from now on: what came before, such as loading a model, says nothing about it."""
        self._begun_at, self._begun_with = time.monotonic(), self.num_done

    def done(self, num_done: int) -> None:
        """Note how much is done by now; what is complete is always emitted."""
        self.num_done = num_done
        now = time.monotonic()
        if now - self._told_at >= INTERVAL_S or num_done == self.total:
            self._told_at = now
            self._link.emit(self.position)

    @property
    def position(self) -> ProgressPayload:
        """Where the work stands."""
        new, left = self.num_done - self._begun_with, self.total - self.num_done
        eta_s = (time.monotonic() - self._begun_at) / new * left if new else None
        return ProgressPayload(step=self.num_done, total_steps=self.total, eta_s=eta_s)

"""A run's signs of life: what it is at, and that it moves."""

from collections import deque
from statistics import median

from train.plan import Beat, Phase, RunLink

REMEMBERED_STEPS = 64


class Pulse:
    """Tells a `RunLink` that the run moves. Lock-free, and cheap enough for every micro-step."""

    def __init__(self, link: RunLink) -> None:
        self._link = link
        self._count = 0
        self._step = 0
        self._phase = Phase.LOADING
        self._step_times: deque[float] = deque(maxlen=REMEMBERED_STEPS)
        self._num_steps = 0
        self._median_step_s: float | None = None

    def tick(self) -> None:
        """Something was done."""
        self._count += 1
        self._link.beat(Beat(self._count, self._step, self._median_step_s, self._phase.value))

    def enter(self, phase: Phase, *, step: int | None = None) -> None:
        """The run is at something else now, `step` steps after its beginning."""
        self._phase = phase
        self._step = self._step if step is None else step
        self.tick()

    def step_done(self, step: int, duration_s: float) -> None:
        """A training step is done. The first of an attempt, which warms up caches and devices, is no measure."""
        self._num_steps += 1
        self._step = step
        if self._num_steps > 1:
            self._step_times.append(duration_s)
            self._median_step_s = median(self._step_times)
        self.tick()

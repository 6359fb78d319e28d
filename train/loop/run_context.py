"""Shared state of one run: its plan, its link, its heartbeat, and its poll for stop and save requests."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from ftlab.status import StopKind
from train.all_ranks import highest
from train.plan import Beat, Phase, RunLink, TrainingPlan

REMEMBERED_STEPS = 64


@dataclass(frozen=True)
class RunContext:
    """One attempt of a job, as the parts of its training process see it."""

    plan: TrainingPlan
    link: RunLink
    heartbeat: "Heartbeat"
    stop_poll: "StopPoll"

    @classmethod
    def of(cls, plan: TrainingPlan, link: RunLink) -> "RunContext":
        """Start the clock of the attempt."""
        return cls(plan, link, Heartbeat(link), StopPoll(link, plan.time_left_s, plan.limit))


class Heartbeat:
    """Reports to a `RunLink` that the run makes progress. Lock-free, and cheap enough for every micro-step."""

    def __init__(self, link: RunLink) -> None:
        self._link = link
        self._count = 0
        self._step = 0
        self._phase = Phase.LOADING
        self._step_times: deque[float] = deque(maxlen=REMEMBERED_STEPS)
        self._num_steps = 0
        self._median_step_s: float | None = None

    def beat(self) -> None:
        """Report progress."""
        self._count += 1
        self._link.beat(Beat(self._count, self._step, self._median_step_s, self._phase))

    def enter(self, phase: Phase, *, step: int | None = None) -> None:
        """Report that `phase` begins, `step` steps after the run's beginning."""
        self._phase = phase
        self._step = self._step if step is None else step
        self.beat()

    def step_done(self, step: int, duration_s: float) -> None:
        """Report a step. The first of an attempt warms up caches and devices, so the median leaves it out."""
        self._num_steps += 1
        self._step = step
        if self._num_steps > 1:
            self._step_times.append(duration_s)
            self._median_step_s = median(self._step_times)
        self.beat()


class EarlyStop(Exception):
    """The run was asked to stop before it had anything to save."""

    def __init__(self, kind: StopKind) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class StepRequests:
    """Requests to a run at the end of a step."""

    stop: StopKind | None
    save: bool = False


class StopPoll:
    """Polls for stop and save requests, of which one is the run's limit of time or cost.

    All ranks agree on the answer: every rank calls the same methods in the same order.
    """

    def __init__(
        self,
        link: RunLink,
        time_left_s: float | None = None,
        limit: StopKind = StopKind.TIME_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limit` is the stop that is due once `time_left_s` is over."""
        self._link = link
        self._limit = limit
        self._clock = clock
        self._ends_at = None if time_left_s is None else clock() + time_left_s

    def at_step_end(self, *, is_last: bool) -> StepRequests:
        """Requests after a step. After the last one the time limit is ignored: the run only has to deliver."""
        save = self._link.save_requested()
        code, is_save_requested = highest([_code(self._requested(check_time_limit=not is_last)), int(save)])
        return StepRequests(_kind(code), bool(is_save_requested))

    def agreed_stop(self, *, check_time_limit: bool = True) -> StopKind | None:
        """The most urgent stop that was requested of any rank."""
        [code] = highest([_code(self._requested(check_time_limit=check_time_limit))])
        return _kind(code)

    def agreed_turn(self, *, is_done: bool, check_time_limit: bool) -> tuple[StopKind | None, bool]:
        """The most urgent stop that was requested of any rank, and whether any rank is done."""
        requested = _code(self._requested(check_time_limit=check_time_limit))
        code, is_any_done = highest([requested, int(is_done)])
        return _kind(code), bool(is_any_done)

    def requested_here(self) -> StopKind | None:
        """The stop that was requested of this rank alone, for work that the other ranks do not do."""
        return self._requested(check_time_limit=True)

    def raise_if_requested_here(self) -> None:
        """Raise `EarlyStop` if a stop was requested of this rank alone, for work as in `requested_here`."""
        kind = self.requested_here()
        if kind is not None:
            raise EarlyStop(kind)

    def raise_if_requested(self) -> None:
        """Raise `EarlyStop` if a stop was requested."""
        kind = self.agreed_stop()
        if kind is not None:
            raise EarlyStop(kind)

    def _requested(self, *, check_time_limit: bool) -> StopKind | None:
        requested = self._link.stop_requested()
        is_over = check_time_limit and self._ends_at is not None and self._clock() >= self._ends_at
        if is_over and (requested is None or requested.urgency < self._limit.urgency):
            return self._limit
        return requested


def _code(kind: StopKind | None) -> int:
    return 0 if kind is None else kind.urgency + 1


def _kind(code: int) -> StopKind | None:
    return next((kind for kind in StopKind if _code(kind) == code), None)

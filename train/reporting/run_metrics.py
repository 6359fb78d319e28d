"""Measures of a run: the series in its trainer's logs, step times, waiting times and speed."""

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ftlab.schemas.events import RunPart

_NO_SERIES = frozenset(
    {
        "epoch",
        "step",
        "total_flos",
        "train_loss",
        "train_runtime",
        "train_samples_per_second",
        "train_steps_per_second",
        "eval_runtime",
        "eval_samples_per_second",
        "eval_steps_per_second",
        "eval_model_preparation_time",
        "eval_num_tokens",
    }
)
"""Entries of the trainer's logs that are not a series over the steps, or are reported elsewhere."""


def series_of(logs: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one log entry that make a chart; they may be infinite or NaN."""
    return {
        name: float(value) for name, value in logs.items() if isinstance(value, int | float) and name not in _NO_SERIES
    }


def eval_losses(log_history: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """The eval losses of a job by step, over all its attempts, except those that are NaN or infinite."""
    return {
        entry["step"]: entry["eval_loss"]
        for entry in log_history
        if "eval_loss" in entry and math.isfinite(entry["eval_loss"])
    }


def best_evaluated_step(losses: Mapping[int, float]) -> int | None:
    """The trained step with the lowest eval loss, the earlier one on a tie. Step 0 is the model before training."""
    return min((step for step in losses if step > 0), key=lambda step: (losses[step], step), default=None)


class StepMeter:
    """Measures the steps of a run, and the waits for data between them."""

    def __init__(self) -> None:
        self._step_started = self.idle_since = time.perf_counter()
        """Time at which the last step, or the work after it, ended."""
        self.step_times = MovingAverage()
        self.data_waits = MovingAverage()
        self._is_waiting = False
        self._num_tokens: float | None = None
        self.active_s = 0.0
        """Time of the steps since the last one with a speed, with the waits for their data."""
        self._parts_s: dict[RunPart, float] = {}
        self._other_part: RunPart | None = None
        """The work besides steps that is in progress."""
        self._other_began = 0.0

    def step_started(self) -> None:
        self._is_waiting = False
        self._step_started = time.perf_counter()
        self.data_waits.add(self._step_started - self.idle_since)
        self._add(RunPart.DATA, self.data_waits.last)

    def step_ended(self, parts_s: Mapping[RunPart, float] | None = None) -> None:
        """Count a step, and the seconds of its parts."""
        self.idle_since = time.perf_counter()
        self.step_times.add(self.idle_since - self._step_started)
        self.active_s += self.data_waits.last + self.step_times.last
        for part, time_s in (parts_s or {}).items():
            self._add(part, time_s)

    def other_work_began(self, part: RunPart | None = None) -> None:
        """Stop counting the wait for data: the run evaluates, saves or ends. The time until `work_ended` is counted as
        that of `part`.
        """
        self._other_work_ended()
        self._is_waiting = False
        self._other_part, self._other_began = part, time.perf_counter()

    def work_ended(self) -> None:
        """Count the next wait for data from now, not from the last step: other work was done in between."""
        self._other_work_ended()
        self.idle_since = time.perf_counter()
        self._is_waiting = True

    def times_s(self) -> dict[str, float]:
        """Seconds of the attempt so far by `RunPart`, rounded to milliseconds; parts that did not occur are absent."""
        parts_s = dict(self._parts_s)
        if self._other_part is not None:
            going_on_s = time.perf_counter() - self._other_began
            parts_s[self._other_part] = parts_s.get(self._other_part, 0.0) + going_on_s
        return {str(part): round(time_s, 3) for part, time_s in parts_s.items()}

    def _other_work_ended(self) -> None:
        if self._other_part is not None:
            self._add(self._other_part, time.perf_counter() - self._other_began)
        self._other_part = None

    def _add(self, part: RunPart, time_s: float) -> None:
        self._parts_s[part] = self._parts_s.get(part, 0.0) + time_s

    def waiting_s(self) -> float:
        """How long the next step has been waiting for its data; 0 while the run does something else."""
        return time.perf_counter() - self.idle_since if self._is_waiting else 0.0

    def speed(self, num_tokens: float) -> dict[str, float]:
        """Timing since the last logged step; without tokens per second at the first one, which has no predecessor.

        `num_tokens` is the number of tokens so far, in which those that are trained again do not count again: the time
        of steps without new tokens belongs to the speed of the next ones that have some. The time of evaluations and
        checkpoints does not count.
        """
        before, active_s = self._num_tokens, self.active_s
        timing = {"step_time_s": self.step_times.last, "data_wait_s": self.data_waits.last}
        if before == num_tokens:
            return timing
        self._num_tokens, self.active_s = num_tokens, 0.0
        if before is None or not active_s:
            return timing
        return timing | {"tokens_per_s": (num_tokens - before) / active_s}


class MovingAverage:
    """An exponential moving average over about the ten newest values."""

    def __init__(self) -> None:
        self.value = 0.0
        self.last = 0.0
        self._count = 0

    def add(self, value: float) -> None:
        self.last = value
        self._count += 1
        weight = max(0.1, 1 / self._count)
        self.value += weight * (value - self.value)

"""Rules that raise an alarm about a run's own measurements. Pure: they get numbers, and return a notice or `None`.

Each rule raises once while its condition holds, and again only after the condition has cleared. The thresholds are
documented in docs/howto/watch-a-job.md.
"""

import math
from collections import deque
from collections.abc import Mapping
from statistics import fmean, median, stdev

from ftlab.schemas import NoticePayload
from ftlab.schemas.events import (
    DATA_WAIT_HIGH,
    EVAL_LOSS_RISING,
    GRAD_NORM_HIGH,
    LOSS_FLAT,
    REWARDS_EQUAL,
    SPEED_DROPPED,
)

MAX_DATA_WAIT_SHARE = 0.05
DATA_WAIT_WINDOW_S = 60.0
DATA_WAIT_WINDOW_STEPS = 10
"""The window is the longer of the two."""
MIN_DATA_WAIT_S = 1.0
"""A shorter wait in the whole window is not worth an alarm."""
PENDING_DATA_WAIT_S = 20.0
"""A wait that has not ended yet counts from this length on."""

MIN_SPEED_SHARE = 0.25
SPEED_POINTS = 5
"""Logged speeds in the reference, and in the median that is compared with it."""
MIN_SLOW_S = 10.0
"""Training time that the slow points must cover together."""

MAX_GRAD_NORM_RATIO = 10.0
GRAD_NORM_STREAK = 3
GRAD_NORM_MIN_HISTORY = 10
GRAD_NORM_HISTORY = 64

EVAL_LOSS_STREAK = 3

FLAT_LOSS_POINTS = 100
"""Logged losses at the first check; the following ones come at twice as many each time."""
MAX_FLAT_CHANGE = 0.01
MOVED_STANDARD_ERRORS = 3.0

EQUAL_REWARDS_STREAK = 10


class Condition:
    """Whether an alarm is raised."""

    def __init__(self) -> None:
        self.is_raised = False

    def begins(self, holds: bool, *, clears: bool | None = None) -> bool:
        """Whether the condition holds now and did not before. It clears with `clears`, by default when not `holds`."""
        begins = holds and not self.is_raised
        if holds:
            self.is_raised = True
        elif clears or clears is None:
            self.is_raised = False
        return begins


class DataWaitRule:
    """Steps that wait for their rows. The first step of an attempt is left out: it opens the files."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._steps: deque[tuple[float, float]] = deque()
        """Wait and duration of the steps in the window, in seconds; the duration includes the wait."""
        self._waits_s = self._total_s = 0.0
        """Sums over the window."""
        self._is_first = True

    def step_ended(self, wait_s: float, step_time_s: float) -> NoticePayload | None:
        """Add a step, of which `step_time_s` does not include the wait."""
        if self._is_first:
            self._is_first = False
            return None
        self._add(wait_s, wait_s + step_time_s)
        if len(self._steps) < DATA_WAIT_WINDOW_STEPS:
            return None
        return self._check(self._waits_s, self._total_s)

    def still_waiting(self, wait_s: float) -> NoticePayload | None:
        """Check the wait for a step that has not begun."""
        if wait_s < PENDING_DATA_WAIT_S or self._condition.is_raised:
            return None
        return self._check(self._waits_s + wait_s, self._total_s + wait_s, pending_s=wait_s)

    def _add(self, wait_s: float, total_s: float) -> None:
        self._steps.append((wait_s, total_s))
        self._waits_s += wait_s
        self._total_s += total_s
        while len(self._steps) > DATA_WAIT_WINDOW_STEPS and self._total_s - self._steps[0][1] > DATA_WAIT_WINDOW_S:
            oldest_wait_s, oldest_total_s = self._steps.popleft()
            self._waits_s -= oldest_wait_s
            self._total_s -= oldest_total_s

    def _check(self, waits_s: float, total_s: float, *, pending_s: float | None = None) -> NoticePayload | None:
        share = waits_s / total_s if total_s else 0.0
        holds = share > MAX_DATA_WAIT_SHARE and waits_s >= MIN_DATA_WAIT_S
        if not self._condition.begins(holds, clears=share < MAX_DATA_WAIT_SHARE / 2):
            return None
        what = (
            f"The run spends {share:.0%} of its time waiting for rows ({waits_s:.1f} of the last {total_s:.0f} s)."
            if pending_s is None
            else f"The next step has been waiting for its rows for {pending_s:.0f} s."
        )
        return NoticePayload(
            code=DATA_WAIT_HIGH,
            message=f"{what} Check the load on the disk and the CPU cores of the machine, and give the run more cores "
            "with resources.cpus_per_worker.",
        )


class SpeedRule:
    """Tokens per second, compared with the run's own speed at the beginning of the attempt."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._first: list[float] = []
        self._recent: deque[tuple[float, float]] = deque(maxlen=SPEED_POINTS)

    def logged(self, tokens_per_s: float, active_s: float) -> NoticePayload | None:
        """Add the mean speed over `active_s` seconds of training."""
        if len(self._first) < SPEED_POINTS:
            self._first.append(tokens_per_s)
            return None
        self._recent.append((tokens_per_s, active_s))
        reference, now = median(self._first), median(speed for speed, _ in self._recent)
        is_full = len(self._recent) == SPEED_POINTS and math.fsum(time_s for _, time_s in self._recent) >= MIN_SLOW_S
        holds = is_full and now < MIN_SPEED_SHARE * reference
        if not self._condition.begins(holds, clears=now > 2 * MIN_SPEED_SHARE * reference):
            return None
        return NoticePayload(
            code=SPEED_DROPPED,
            message=f"The run trains {now:.3g} tokens/s, less than a quarter of the {reference:.3g} when this attempt "
            "began. Check for other load on the device, throttling, and data_wait_s.",
        )


class GradNormRule:
    """Gradient norms far above their running median."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._usual: deque[float] = deque(maxlen=GRAD_NORM_HISTORY)
        """Newest norms that were not too high."""
        self._streak = 0

    def logged(self, step: int, grad_norm: float) -> NoticePayload | None:
        usual = median(self._usual) if len(self._usual) >= GRAD_NORM_MIN_HISTORY else 0.0
        if not usual or grad_norm <= MAX_GRAD_NORM_RATIO * usual:
            if math.isfinite(grad_norm):
                self._usual.append(grad_norm)
            self._streak = 0
            self._condition.begins(False)
            return None
        self._streak += 1
        if self._streak < GRAD_NORM_STREAK or not self._condition.begins(True):
            return None
        return NoticePayload(
            code=GRAD_NORM_HIGH,
            message=f"The gradient norm is {grad_norm:.3g} at step {step}, the third logged step in a row "
            f"with more than {MAX_GRAD_NORM_RATIO:.0f} times its median of {usual:.3g}. Lower training.learning_rate, "
            "add training.warmup_steps, or look at the rows of these steps.",
        )


class EvalLossRule:
    """Eval losses that rise from one evaluation to the next."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._losses: list[float] = []
        """The losses of the current rise, from its lowest point on."""

    def logged(self, step: int, eval_loss: float) -> NoticePayload | None:
        if self._losses and not eval_loss > self._losses[-1]:
            self._losses.clear()
        self._losses.append(eval_loss)
        if not self._condition.begins(len(self._losses) > EVAL_LOSS_STREAK):
            return None
        return NoticePayload(
            code=EVAL_LOSS_RISING,
            message=f"The eval loss rose {EVAL_LOSS_STREAK} evaluations in a row, from {self._losses[0]:.4g} to "
            f"{eval_loss:.4g} at step {step}: the model probably overfits. Stop the job, or train for fewer epochs or "
            "with a lower training.learning_rate.",
        )


class FlatLossRule:
    """A training loss that has not changed since the first step, beyond its noise."""

    def __init__(self, warmup_steps: int) -> None:
        self._warmup_steps = warmup_steps
        self._losses: list[float] = []
        self._next_check = FLAT_LOSS_POINTS
        self._is_settled = False

    def logged(self, step: int, loss: float) -> NoticePayload | None:
        if self._is_settled:
            return None
        self._losses.append(loss)
        if len(self._losses) < self._next_check or step < 2 * self._warmup_steps:
            return None
        self._next_check = 2 * len(self._losses)
        half = len(self._losses) // 2
        first, second = self._losses[:half], self._losses[half:]
        change = abs(fmean(first) - fmean(second))
        standard_error = math.hypot(stdev(first), stdev(second)) / math.sqrt(half)
        is_flat = change <= standard_error and change <= MAX_FLAT_CHANGE * abs(fmean(first))
        self._is_settled = is_flat or change > MOVED_STANDARD_ERRORS * standard_error
        if self._is_settled:
            self._losses.clear()
        if not is_flat:
            return None
        return NoticePayload(
            code=LOSS_FLAT,
            message=f"The loss has not changed since the first step: its mean was {fmean(first):.4g} over the first "
            f"{half} logged steps and {fmean(second):.4g} over the next {len(second)}. Likely causes: "
            "training.learning_rate is too small, the rows have hardly any trained tokens, or no weight is trained.",
        )


class RewardRule:
    """Generated answers of which all to each prompt get the same reward: they are compared, so nothing is learned."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._streak = 0

    def logged(self, step: int, values: Mapping[str, float]) -> NoticePayload | None:
        if "frac_reward_zero_std" not in values:
            return None  # the values of an evaluation, or of a method without rewards
        self._streak = self._streak + 1 if values["frac_reward_zero_std"] == 1.0 else 0
        if not self._condition.begins(self._streak >= EQUAL_REWARDS_STREAK):
            return None
        cut = values.get("completions/clipped_ratio", 0.0)
        return NoticePayload(
            code=REWARDS_EQUAL,
            message=f"All answers to each prompt got the same reward in the last {EQUAL_REWARDS_STREAK} logged steps, "
            f"{values.get('reward', 0.0):.4g} on average at step {step}, so the rewards teach nothing. Check that "
            "method.rewards can distinguish the answers: the prompts may be too hard or too easy, or the answers too "
            f"long ({cut:.0%} of them are cut off at method.max_completion_length).",
        )

"""Detect a hung run from its signs of life; pure, with a clock that is passed in.

Three conditions count as hung, each with its own limit:

- The workers do not start. Ray retries forever, so this is the limit.
- The run makes no progress for `stuck_timeout_s` after its first step, or, if the steps are fast, for ten times the
  median step. That shorter limit is never less than two minutes, because a step may now and then wait for a disk,
  unless `stuck_timeout_s` itself is. It applies while the run trains; an evaluation gets `stuck_timeout_s`. Phases
  without a pace get `first_step_timeout_s`: everything before the first step, where a model may be downloaded, and
  later writing a checkpoint or the model, whose time depends on its size.
- A worker is silent. Its process sends a sign of life every second, whatever it is doing; after `stuck_timeout_s` of
  silence it is suspended or swapped out, in any phase.
"""

import threading
from dataclasses import dataclass

from train.plan import Beat, Phase

START_TIMEOUT_S = 600.0
ADAPTED_LIMIT_S = 120.0
"""The lowest limit that the pace of the steps leads to."""
STEPS_UNTIL_STUCK = 10
PHASES_WITHOUT_PACE = (Phase.LOADING, Phase.SAVING, Phase.DELIVERING)
EXIT_TIMEOUT_S = 60.0
"""Seconds that a run may take to exit after it reported its end."""
LOOK_INTERVAL_S = 1.0
OWN_ABSENCE_S = 10.0
"""If the watchdog itself did not check for this long, that time does not count against the run."""


@dataclass(frozen=True)
class Stall:
    """A stall: what does not progress, for how long, and at which step."""

    what: str
    for_s: float
    step: int | None = None

    @property
    def sentence(self) -> str:
        where = "" if self.step is None else f" at step {self.step}"
        return f"{self.what}{where} for {self.for_s:.0f} s."


class Watchdog:
    """Follows one run. Safe to call from any thread; `look` is to be called every `LOOK_INTERVAL_S`."""

    def __init__(self, *, stuck_timeout_s: float, first_step_timeout_s: float, now: float) -> None:
        self._stuck_timeout_s = stuck_timeout_s
        self._first_step_timeout_s = first_step_timeout_s
        self._lock = threading.Lock()
        self._looked_at = self._moved_at = now
        self._heard_at: dict[int, float] = {}
        self._up_at: float | None = None
        self._has_told_its_end = False
        self._has_stepped = False
        self._first_step: int | None = None
        self._beat: Beat | None = None

    def is_up(self, ranks: int, now: float) -> None:
        """All `ranks` workers have started and have their plan."""
        with self._lock:
            if self._up_at is None:
                self._up_at = self._moved_at = now
                self._heard_at = dict.fromkeys(range(ranks), now)

    def hear(self, rank: int, beat: Beat | None, now: float) -> None:
        """A worker has reported, with the run's newest heartbeat if it is the worker that sends them."""
        with self._lock:
            self._heard_at[rank] = now
            if beat is not None and (self._beat is None or beat.count > self._beat.count):
                self._moved_at = now
                self._beat = beat
                self._note_steps(beat)

    def has_left(self, rank: int) -> None:
        """Expect nothing more from a worker whose training ended. Rank 0 may still deliver and evaluate the model."""
        with self._lock:
            self._heard_at.pop(rank, None)

    def has_told_its_end(self, now: float) -> None:
        """The run has reported its end; it only has to exit."""
        with self._lock:
            if not self._has_told_its_end:
                self._has_told_its_end = True
                self._moved_at = now

    def look(self, now: float) -> Stall | None:
        """The stall, if a limit is exceeded."""
        with self._lock:
            away = now - self._looked_at
            self._looked_at = now
            if away > OWN_ABSENCE_S:
                self._moved_at += away
                self._up_at = None if self._up_at is None else self._up_at + away
                self._heard_at = {rank: at + away for rank, at in self._heard_at.items()}
            return self._stall(now)

    def look_again(self, now: float) -> Stall | None:
        """The stall after a time in which the watchdog itself was busy."""
        with self._lock:
            self._looked_at = now
            return self._stall(now)

    def is_in_work_after(self, seconds: float, total_steps: int | None, now: float) -> bool:
        """Whether so long after it came up the run is still at something that may be cut.

        A run obeys its time limit by itself, at the end of a step. A run that saves, evaluates for the last time or
        delivers is left to finish.
        """
        with self._lock:
            if self._up_at is None or now - self._up_at <= seconds or self._has_told_its_end:
                return False
            if self._beat is None:
                return True
            has_trained = total_steps is not None and self._beat.step >= total_steps
            return not has_trained and self._beat.phase not in (Phase.SAVING, Phase.DELIVERING)

    def _stall(self, now: float) -> Stall | None:
        unmoved_s = now - self._moved_at
        if self._has_told_its_end:
            return Stall("The run reported its end but did not exit", unmoved_s) if unmoved_s > EXIT_TIMEOUT_S else None
        if self._up_at is None:
            is_late = unmoved_s > min(START_TIMEOUT_S, self._first_step_timeout_s)
            return Stall("The training processes did not start", unmoved_s) if is_late else None
        if unmoved_s > self._limit_s():
            phase = self._beat.phase if self._beat else Phase.LOADING
            return Stall(f"No progress ({phase})", unmoved_s, self._step)
        rank, heard_at = min(self._heard_at.items(), key=lambda item: item[1])
        if now - heard_at > self._stuck_timeout_s:
            return Stall(f"Worker {rank} reported nothing", now - heard_at, self._step)
        return None

    def _limit_s(self) -> float:
        beat = self._beat
        if beat is None or not self._has_stepped:
            return self._first_step_timeout_s
        if beat.phase in PHASES_WITHOUT_PACE:
            return max(self._stuck_timeout_s, self._first_step_timeout_s)
        if beat.median_step_s is None or beat.phase != Phase.TRAINING:
            return self._stuck_timeout_s
        return min(self._stuck_timeout_s, max(ADAPTED_LIMIT_S, STEPS_UNTIL_STUCK * beat.median_step_s))

    @property
    def _step(self) -> int | None:
        return self._beat.step if self._beat else None

    def _note_steps(self, beat: Beat) -> None:
        if self._first_step is None and beat.phase == Phase.TRAINING:
            self._first_step = beat.step
        has_advanced = self._first_step is not None and beat.step > self._first_step
        self._has_stepped |= has_advanced or beat.median_step_s is not None

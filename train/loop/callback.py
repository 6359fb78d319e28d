"""What happens between two training steps: metrics out, checkpoints committed, stop requests in."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftlab.schemas import MetricsPayload, ProgressPayload
from train.all_ranks import barrier
from train.checkpoints import checkpoint_files
from train.checkpoints.resume import checkpoint_payload
from train.checkpoints.resume_report import Receipt, TraitReader
from train.failures import LossDivergedError
from train.loop.heartbeat import Pulse
from train.loop.run_state import read_run_states, rng_sha256
from train.loop.stop_poll import Stops
from train.model.base_model import BaseModel
from train.model.load import name_base_model
from train.plan import Phase, RunLink, RunPlan, StopKind
from train.reporting.metric_names import series_of
from train.row_schedule import Course

PROGRESS_INTERVAL_S = 0.5
"""Progress is told at most this often between two logged steps."""


class EvaluationCut(Exception):
    """An evaluation is not finished, because the run shall stop."""

    def __init__(self, kind: StopKind) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Run:
    """What the parts of one run share."""

    plan: RunPlan
    link: RunLink
    pulse: Pulse
    stops: Stops


class RunCallback(TrainerCallback):
    """Connects a transformers `Trainer` to its `RunLink`."""

    def __init__(
        self, run: Run, base: BaseModel, course: Course, *, has_eval: bool, resumed: checkpoint_files.Manifest | None
    ) -> None:
        self._plan, self._link, self._pulse, self._stops = run.plan, run.link, run.pulse, run.stops
        self._base = base
        self._course = course
        self._traits = TraitReader(run.plan, course)
        self._has_eval = has_eval
        self._resumed = resumed
        self._receipt: Receipt | None = None
        self._restored_rng: str | None = None
        self._newest: dict[str, tuple[int, float]] = {}
        self._step_started = self._idle_since = time.perf_counter()
        self._progress_told = 0.0
        self._step_times = _Average()
        self._data_waits = _Average()
        self._tokens_seen: float | None = None
        self._logged_at = 0.0
        self._save_wish = False
        self.stopped_by: StopKind | None = None
        self.saved_step: int | None = None
        """The newest step that this attempt committed."""

    def rng_restored(self, fingerprint: str) -> None:
        """The random state is that of the checkpoint again."""
        self._restored_rng = fingerprint

    def saving(self) -> None:
        """The trainer begins to write a checkpoint."""
        self._pulse.enter(Phase.SAVING)

    def takes_save_wish(self) -> bool:
        """Whether the step that just ended shall be saved before anything else. Asking takes the wish."""
        wish, self._save_wish = self._save_wish, False
        return wish

    def is_scheduled(self, state: TrainerState) -> bool:
        """Whether this step is saved in every run of the job, interrupted or not."""
        step: int = state.global_step
        return step % self._plan.config.training.save_steps == 0 or step >= self._course.last_step

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._resumed is not None and state.is_world_process_zero:
            self._receipt = Receipt(self._resumed, state.log_history)
        for entry in state.log_history:
            self._newest |= {name: (entry["step"], value) for name, value in series_of(entry).items()}
        self._idle_since = time.perf_counter()
        self._pulse.enter(Phase.TRAINING, step=state.global_step)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._step_started = time.perf_counter()
        self._data_waits.add(self._step_started - self._idle_since)

    def on_substep_end(self, *_: Any, **__: Any) -> None:
        self._pulse.tick()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._idle_since = time.perf_counter()
        self._step_times.add(self._idle_since - self._step_started)
        self._pulse.step_done(state.global_step, self._step_times.last)
        done = self._course.done_at(state.global_step)
        state.epoch = done.place / self._course.rows[done.file]
        is_last = state.global_step >= self._course.last_step
        if is_last:
            # The last step is always told, so that a loss that is no number is noticed before the delivery.
            control.should_log = True
            control.should_evaluate = self._has_eval
        wish = self._stops.at_step_end(is_last=is_last)
        self._save_wish = wish.save
        control.should_save = control.should_save or wish.save
        if wish.stop is not None:
            self._stop(wish.stop, control)
        self._tell_progress(state, control)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Raise `EvaluationCut` when the run shall stop. What it was to find is found by the resume."""
        self._pulse.enter(Phase.EVALUATING)
        kind = self._stops.agreed(heeds_clock=state.global_step < self._course.last_step)
        if kind is not None:
            self.stopped_by = kind
            raise EvaluationCut(kind)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **_: Any,
    ) -> None:
        if "train_runtime" in logs:
            return  # the summary of an attempt is no point of a series
        values = series_of(logs)
        if "loss" in values:
            if not math.isfinite(values["loss"]):
                raise LossDivergedError(f"The loss became {values['loss']} at step {state.global_step}.")
            values |= self._speed(values.get("num_tokens", 0.0))
            self._tell_resumed(logs)
        self._newest |= {name: (state.global_step, value) for name, value in values.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if state.is_world_process_zero and finite:
            self._link.emit(MetricsPayload(**self._progress(state), values=finite))
            self._progress_told = self._idle_since
        self._idle_since = time.perf_counter()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        barrier()  # every rank has written its random state
        step = state.global_step
        target = self._plan.checkpoints_folder / checkpoint_files.step_name(step)
        if state.is_world_process_zero:
            self._commit(Path(args.output_dir) / f"checkpoint-{step}", target, state)
        barrier()
        self.saved_step = step
        self._link.report_checkpoint(step, target)
        self._idle_since = time.perf_counter()
        self._pulse.enter(Phase.TRAINING)
        if self.stopped_by is None and step < self._course.last_step:
            # A stop that was asked for meanwhile needs no further step and no further save.
            self.stopped_by = self._stops.agreed()
            control.should_training_stop = self.stopped_by is not None

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self._idle_since = time.perf_counter()
        self._pulse.enter(Phase.TRAINING)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._resumed is not None and (state.global_step > self._resumed.step or self.stopped_by is None):
            self._tell_resumed({})

    def _stop(self, kind: StopKind, control: TrainerControl) -> None:
        self.stopped_by = kind
        control.should_training_stop = True
        control.should_save = kind is not StopKind.FENCED
        control.should_evaluate = False  # the resume does it

    def _commit(self, written: Path, target: Path, state: TrainerState) -> None:
        step = state.global_step
        name_base_model(written, self._base)
        traits = self._traits.at(step, rng_sha256(read_run_states(written)))
        manifest, _ = checkpoint_files.commit(
            written,
            target,
            job_id=self._plan.job_id,
            attempt=self._plan.attempt,
            step=step,
            samples=self._course.rows_at(step),
            # An eval loss of an earlier step must not make this checkpoint the best one.
            metrics={
                name: self._newest[name][1]
                for name in ("loss", "eval_loss")
                if name in self._newest and self._newest[name][0] == step and math.isfinite(self._newest[name][1])
            },
            is_scheduled=self.is_scheduled(state),
            traits=traits.to_document(),
        )
        removed = checkpoint_files.retire(target.parent, keep=self._plan.config.training.save_total_limit)
        self._link.emit(checkpoint_payload(target, manifest, removed))

    def _tell_resumed(self, logs: dict[str, Any]) -> None:
        if self._receipt is None or self._resumed is None:
            return
        now = self._traits.at(self._resumed.step, self._restored_rng)
        self._receipt.tell(self._link, now, logs)
        self._receipt = None

    def _tell_progress(self, state: TrainerState, control: TrainerControl) -> None:
        told_long_ago = self._idle_since - self._progress_told > PROGRESS_INTERVAL_S
        is_due = told_long_ago or self.stopped_by is not None
        # A step that is logged tells its progress with its metrics.
        if state.is_world_process_zero and is_due and not control.should_log:
            self._progress_told = self._idle_since
            self._link.emit(ProgressPayload(**self._progress(state)))

    def _progress(self, state: TrainerState) -> dict[str, Any]:
        step_time_s = self._step_times.value
        left = state.max_steps - state.global_step
        done = self._course.done_at(state.global_step)
        return {
            "step": state.global_step,
            "total_steps": state.max_steps,
            "epoch": state.epoch,
            "file": done.file + 1,
            "num_files": self._course.num_files,
            "file_progress": done.place / self._course.ends[done.file],
            "eta_s": step_time_s * left if step_time_s else None,
            "step_time_s": step_time_s,
            "data_wait_s": self._data_waits.value,
        }

    def _speed(self, tokens_seen: float) -> dict[str, float]:
        """Tokens per second since the last logged step; none at the first, which has nothing to compare with."""
        now = time.perf_counter()
        before, since = self._tokens_seen, self._logged_at
        self._tokens_seen, self._logged_at = tokens_seen, now
        timing = {"step_time_s": self._step_times.last, "data_wait_s": self._data_waits.last}
        if before is None or now <= since:
            return timing
        return timing | {"tokens_per_s": (tokens_seen - before) / (now - since)}


class _Average:
    """An exponential moving average that follows the newest ten or so values."""

    def __init__(self) -> None:
        self.value = 0.0
        self.last = 0.0
        self._count = 0

    def add(self, value: float) -> None:
        self.last = value
        self._count += 1
        weight = max(0.1, 1 / self._count)
        self.value += weight * (value - self.value)

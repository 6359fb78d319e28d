"""What happens between two training steps: metrics out, checkpoints committed, stop requests in."""

import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftlab.schemas import EventKind
from train import checkpoints
from train.collective import barrier, is_distributed
from train.failures import LossDivergedError
from train.model import BaseModel, name_base_model
from train.plan import RunLink, RunPlan, StopKind
from train.resume import checkpoint_data
from train.series import series_of

PROGRESS_INTERVAL_S = 0.5
"""Progress is told at most this often between two logged steps."""


class RunCallback(TrainerCallback):
    """Connects a transformers `Trainer` to its `RunLink`."""

    def __init__(self, plan: RunPlan, link: RunLink, base: BaseModel, *, samples_per_step: int, has_eval: bool) -> None:
        self._plan = plan
        self._base = base
        self._link = link
        self._samples_per_step = samples_per_step
        self._has_eval = has_eval
        self._newest: dict[str, tuple[int, float]] = {}
        self._step_started = self._idle_since = time.perf_counter()
        self._progress_told = 0.0
        self._step_times = _Average()
        self._data_waits = _Average()
        self._tokens_before = 0.0
        self._tokens_seen: float | None = None
        self._logged_at = 0.0
        self.stopped_by: StopKind | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # TRL counts tokens from zero again after a resume; the history knows what was seen before.
        self._tokens_before = max((entry.get("num_tokens", 0.0) for entry in state.log_history), default=0.0)
        self._idle_since = time.perf_counter()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._step_started = time.perf_counter()
        self._data_waits.add(self._step_started - self._idle_since)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._idle_since = time.perf_counter()
        self._step_times.add(self._idle_since - self._step_started)
        told_long_ago = self._idle_since - self._progress_told > PROGRESS_INTERVAL_S
        if state.global_step >= state.max_steps:
            # The last step is always told, so that a loss that is no number is noticed before the delivery.
            control.should_log = True
            control.should_evaluate = self._has_eval
        # A step that is logged tells its progress with its metrics.
        if state.is_world_process_zero and told_long_ago and not control.should_log:
            self._progress_told = self._idle_since
            self._link.emit(EventKind.PROGRESS, self._progress(state))
        self.stopped_by = self._agreed_stop()
        if self.stopped_by is not None:
            control.should_save = self.stopped_by is not StopKind.FENCED
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **_: Any,
    ) -> None:
        values = series_of(logs)
        if "loss" in values:
            if not math.isfinite(values["loss"]):
                raise LossDivergedError(f"The loss became {values['loss']} at step {state.global_step}.")
            logs["num_tokens"] = values["num_tokens"] = values.get("num_tokens", 0.0) + self._tokens_before
            values |= self._speed(values["num_tokens"])
        self._newest |= {name: (state.global_step, value) for name, value in values.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if state.is_world_process_zero and finite:
            progress = self._progress(state)
            self._link.emit(EventKind.METRICS, progress | {"values": finite})
            self._progress_told = self._idle_since
        self._idle_since = time.perf_counter()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        barrier()  # every rank has written its random state
        step = state.global_step
        target = self._plan.checkpoints_folder / checkpoints.step_name(step)
        if state.is_world_process_zero:
            self._commit(Path(args.output_dir) / f"checkpoint-{step}", target, step)
        barrier()
        self._link.report_checkpoint(step, target)
        self._idle_since = time.perf_counter()

    def _commit(self, written: Path, target: Path, step: int) -> None:
        name_base_model(written, self._base)
        manifest, _ = checkpoints.commit(
            written,
            target,
            job_id=self._plan.job_id,
            attempt=self._plan.attempt,
            step=step,
            samples=step * self._samples_per_step,
            # An eval loss of an earlier step must not make this checkpoint the best one.
            metrics={
                name: self._newest[name][1]
                for name in ("loss", "eval_loss")
                if name in self._newest and self._newest[name][0] == step and math.isfinite(self._newest[name][1])
            },
        )
        removed = checkpoints.retire(target.parent, keep=self._plan.config.training.save_total_limit)
        self._link.emit(EventKind.CHECKPOINT, checkpoint_data(target, manifest, removed))

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self._idle_since = time.perf_counter()

    def _progress(self, state: TrainerState) -> dict[str, Any]:
        step_time_s = self._step_times.value
        left = state.max_steps - state.global_step
        return {
            "step": state.global_step,
            "total_steps": state.max_steps or None,  # unknown while the base model is evaluated
            "epoch": state.epoch,
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

    def _agreed_stop(self) -> StopKind | None:
        """The stop request that all ranks act on at the same step."""
        wanted = self._link.stop_requested()
        if not is_distributed():
            return wanted
        kinds = list(StopKind)
        code = torch.tensor([kinds.index(wanted) + 1 if wanted else 0])
        if dist.get_backend() == "nccl":
            code = code.cuda()
        dist.all_reduce(code, op=dist.ReduceOp.MAX)
        return kinds[int(code.item()) - 1] if code.item() else None


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

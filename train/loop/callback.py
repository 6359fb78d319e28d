"""Work between two training steps: emit metrics, commit checkpoints, poll for stop requests."""

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftlab.manifest import Manifest
from ftlab.schemas import MetricsPayload, NoticePayload, ProgressPayload
from ftlab.schemas.events import EVALUATION_CHANGED, RunPart
from train.all_ranks import barrier, is_main_rank
from train.checkpoints import checkpoint_files
from train.checkpoints.resume import checkpoint_payload
from train.checkpoints.resume_report import ConditionsReader, ResumeReport
from train.failures.errors import LossDivergedError
from train.loop.alarms import RunAlarms
from train.loop.early_stopping import is_exhausted, sentence_of
from train.loop.record_check import notice_of_differences
from train.loop.run_context import RunContext
from train.loop.run_state import read_run_states, saved_rng_sha256
from train.loop.step_rows import sentence_about_rows
from train.loop.step_timer import StepTimer
from train.model.base_model import BaseModel
from train.model.model_card import name_base_model
from train.plan import Phase, StopKind
from train.reporting.run_metrics import StepMeter, best_evaluated_step, eval_losses, series_of
from train.row_schedule import RowSchedule

PROGRESS_INTERVAL_S = 0.5
"""Shortest time between two progress events that come without metrics."""


class EvaluationCut(Exception):
    """An evaluation was cut short, because a stop was requested."""

    def __init__(self, kind: StopKind) -> None:
        super().__init__(kind)
        self.kind = kind


class RunCallback(TrainerCallback):
    """Connects a transformers `Trainer` to its `RunLink`."""

    def __init__(
        self,
        run: RunContext,
        base: BaseModel,
        schedule: RowSchedule,
        *,
        evaluation: str | None,
        resumed: Manifest | None,
    ) -> None:
        """`evaluation` is that of `evaluation_identity`; `None` without evaluation rows."""
        self._plan, self._link = run.plan, run.link
        self._heartbeat, self._stop_poll = run.heartbeat, run.stop_poll
        self._base = base
        self._schedule = schedule
        self._conditions = ConditionsReader(run.plan, schedule, evaluation)
        self._has_eval = evaluation is not None
        self._resumed = resumed
        self.evaluation_changes = self._conditions.evaluation_changes(resumed) if resumed and self._has_eval else []
        """Why earlier eval losses of the job cannot be compared with those of this attempt; empty where they can."""
        self._resume_report: ResumeReport | None = None
        self._restored_rng: str | None = None
        self._newest: dict[str, tuple[int, float]] = {}
        self._meter = StepMeter()
        self.step_timer = StepTimer(use_cuda=run.plan.use_cuda)
        self._alarms: RunAlarms | None = None
        if is_main_rank():
            config = run.plan.config
            self._alarms = RunAlarms(
                run.link,
                self._meter,
                warmup_steps=config.training.num_warmup_steps(schedule.lr_steps),
                learns_from_prompts=config.method.learns_from_prompts,
            )
        self._progress_emitted = 0.0
        self._is_save_requested = False
        self._is_record_checked = False
        self.stopped_by: StopKind | None = None
        self.saved_step: int | None = None
        """The newest step that this attempt committed."""

    def rng_restored(self, fingerprint: str) -> None:
        """Note the random state that was restored from the checkpoint."""
        self._restored_rng = fingerprint

    def check_in(self) -> None:
        """Report progress before the first step. Raise `EarlyStop` if a stop was requested. Every rank calls it."""
        self._heartbeat.beat()
        self._stop_poll.raise_if_requested()

    def beat(self) -> None:
        """Report progress within a step."""
        self._heartbeat.beat()

    def measuring(self) -> None:
        """Report that the memory probe starts. Raise `EarlyStop` if a stop was requested. Every rank calls it."""
        self._meter.other_work_began()
        self.check_in()

    def measured(self, notice: NoticePayload) -> None:
        """Emit the result of the memory probe, once for all ranks."""
        if is_main_rank():
            self._link.emit(notice)
        self.training_again()

    def watching(self) -> AbstractContextManager[None]:
        """Watch the run for alarms, also while its training thread waits."""
        return nullcontext() if self._alarms is None else self._alarms.watching()

    def evaluating(self) -> None:
        """Note that an evaluation starts, so that its time does not count as a wait for data."""
        self._meter.other_work_began(RunPart.EVALUATION)

    def sampling(self) -> None:
        """Report that prompts are about to be answered."""
        self._meter.other_work_began(RunPart.SAMPLING)
        self._heartbeat.enter(Phase.EVALUATING)

    def training_again(self) -> None:
        """Report that an evaluation or a sampling has ended."""
        self._meter.work_ended()
        self._heartbeat.enter(Phase.TRAINING)

    def sampled(self, stop: StopKind | None, state: TrainerState, control: TrainerControl) -> None:
        """Continue after the prompts were answered, or stop and save a step that was not saved yet."""
        self.training_again()
        if stop is None:
            return
        self._stop(stop, control)
        saved_step = self.saved_step or (self._resumed.step if self._resumed else 0)
        control.should_save = control.should_save and state.global_step > saved_step

    def saving(self) -> None:
        """Report that the trainer starts to write a checkpoint."""
        self._meter.other_work_began(RunPart.SAVING)
        self._heartbeat.enter(Phase.SAVING)

    def take_save_request(self) -> bool:
        """Whether to save the step that just ended before anything else. The request is cleared."""
        is_requested, self._is_save_requested = self._is_save_requested, False
        return is_requested

    def is_scheduled(self, state: TrainerState) -> bool:
        """Whether this step is saved in every run of the job, interrupted or not."""
        step: int = state.global_step
        is_due = step % self._plan.config.training.save_steps == 0 or step >= self._schedule.last_step
        return is_due or self._is_best(state) or self.ends_early(state)

    def ends_early(self, state: TrainerState) -> bool:
        """Whether this step is the last one, although more are scheduled, because the eval loss no longer improves."""
        step: int = state.global_step
        return step < self._schedule.last_step and is_exhausted(self._plan.config.training, state.log_history)

    def early_end(self, state: TrainerState) -> str | None:
        """Sentence about why the run ended before its last scheduled step; `None` where it did not."""
        if self.stopped_by is not None or not self.ends_early(state):
            return None
        return sentence_of(self._plan.config.training, state.log_history, state.global_step, self._schedule.last_step)

    def diverged(self, what: str, step: int) -> LossDivergedError:
        """The error of a training that diverged, with the rows of the steps since the newest finite loss."""
        error = LossDivergedError(f"{what} at step {step}.")
        first = max(self._newest.get("loss", (0, 0.0))[0], self._resumed.step if self._resumed else 0) + 1
        if rows := sentence_about_rows(self._plan, self._schedule, min(first, step), step):
            error.add_note(rows)
        return error

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._resumed is not None and state.is_world_process_zero:
            self._resume_report = ResumeReport(self._resumed, state.log_history)
        if self.evaluation_changes:
            self._forget_evaluations(state)
        for entry in state.log_history:
            self._newest |= {name: (entry["step"], value) for name, value in series_of(entry).items()}
        if self._alarms is not None:
            self._alarms.resumed(state.log_history)
        self._meter.work_ended()
        self._heartbeat.enter(Phase.TRAINING, step=state.global_step)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        if not self._is_record_checked:
            self._is_record_checked = True
            self._check_record(args, state, parts)
        self._meter.step_started()
        self.step_timer.step_started()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.step_timer.mark(None)

    def on_substep_end(self, *_: Any, **__: Any) -> None:
        self._heartbeat.beat()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # This waits for the device, which works behind the host: the rest of the step is no wait for data.
        parts_s = self.step_timer.step_ended()
        self._meter.step_ended(parts_s)
        if self._alarms is not None:
            self._alarms.step_ended()
        self._heartbeat.step_done(state.global_step, self._meter.step_times.last)
        done = self._schedule.done_at(state.global_step)
        state.epoch = done.place / self._schedule.rows[done.file]
        is_last = state.global_step >= self._schedule.last_step
        if is_last:
            # The last step is always logged, so that a NaN loss is noticed before the delivery.
            control.should_log = True
            control.should_evaluate = self._has_eval
        requests = self._stop_poll.at_step_end(is_last=is_last)
        self._is_save_requested = requests.save
        control.should_save = control.should_save or requests.save
        if requests.stop is not None:
            self._stop(requests.stop, control)
        self._emit_progress(state, control)
        self._meter.work_ended()

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Raise `EvaluationCut` when a stop is requested. The resume evaluates again."""
        self._heartbeat.enter(Phase.EVALUATING)
        kind = self._stop_poll.agreed_stop(check_time_limit=state.global_step < self._schedule.last_step)
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
            return  # the summary of an attempt is not a point of a series
        values, active_s = series_of(logs), 0.0
        if "loss" in values:
            if not math.isfinite(values["loss"]):
                raise self.diverged(f"The loss became {values['loss']}", state.global_step)
            active_s = self._meter.active_s
            values |= self._meter.speed(values.get("num_tokens", 0.0))
            self._report_resume(logs)
        self._newest |= {name: (state.global_step, value) for name, value in values.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if state.is_world_process_zero and finite:
            position = self.progress(state).to_data()
            self._link.emit(MetricsPayload(**position, values=finite, times_s=self._meter.times_s()))
            self._progress_emitted = self._meter.idle_since
        if self._alarms is not None:
            self._alarms.logged(state.global_step, values, active_s)
        self._meter.work_ended()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        barrier()  # every rank has written its random state
        step = state.global_step
        target = self._plan.checkpoints_folder / checkpoint_files.step_name(step)
        if state.is_world_process_zero:
            self._commit(Path(args.output_dir) / f"checkpoint-{step}", target, state)
        barrier()
        self.saved_step = step
        self._link.report_checkpoint(step, target)
        self._meter.work_ended()
        self._heartbeat.enter(Phase.TRAINING)
        if self.stopped_by is None and step < self._schedule.last_step and not self.ends_early(state):
            # A stop that was requested meanwhile needs no further step and no further save.
            self.stopped_by = self._stop_poll.agreed_stop()
            control.should_training_stop = self.stopped_by is not None

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        ends = self.ends_early(state)
        control.should_training_stop = control.should_training_stop or ends
        # The model that was measured as the best one must be there to be delivered.
        control.should_save = control.should_save or self._is_best(state) or ends
        self.training_again()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._meter.other_work_began()
        if self._resumed is not None and (state.global_step > self._resumed.step or self.stopped_by is None):
            self._report_resume({})

    def _forget_evaluations(self, state: TrainerState) -> None:
        """Leave the earlier eval losses out of the choice of the best step, and of early stopping."""
        for entry in state.log_history:
            entry.pop("eval_loss", None)
        if state.is_world_process_zero:
            message = (
                f"Eval losses from step {state.global_step} on cannot be compared with earlier ones: "
                f"{'; '.join(self.evaluation_changes)}. The best checkpoint is chosen by the later ones alone."
            )
            self._link.emit(NoticePayload(code=EVALUATION_CHANGED, message=message))

    def _check_record(self, args: TrainingArguments, state: TrainerState, parts: dict[str, Any]) -> None:
        """Report settings that are not in force, now that everything has been set up."""
        names = ("model", "optimizer", "lr_scheduler", "train_dataloader")
        parts = {"args": args} | {name: parts[name] for name in names}
        notice = notice_of_differences(self._plan.config, self._schedule.lr_steps, parts)
        if notice is not None and state.is_world_process_zero:
            self._link.emit(notice)

    def _is_best(self, state: TrainerState) -> bool:
        """Whether this step was evaluated, and is better than every earlier one of the job."""
        wants_best = self._plan.config.training.load_best_model_at_end
        return wants_best and best_evaluated_step(eval_losses(state.log_history)) == state.global_step

    def _stop(self, kind: StopKind, control: TrainerControl) -> None:
        self.stopped_by = kind
        control.should_training_stop = True
        control.should_save = kind is not StopKind.FENCED
        control.should_evaluate = False  # the resume does it

    def _commit(self, written: Path, target: Path, state: TrainerState) -> None:
        step = state.global_step
        name_base_model(written, self._base)
        # Nothing reads it, and it names folders of this machine.
        (written / "training_args.bin").unlink(missing_ok=True)
        conditions = self._conditions.at(step, saved_rng_sha256(read_run_states(written)))
        manifest, _ = checkpoint_files.commit(
            written,
            target,
            job_id=self._plan.job_id,
            attempt=self._plan.attempt,
            step=step,
            samples=self._schedule.rows_at(step),
            # An eval loss of an earlier step must not make this checkpoint the best one.
            metrics={
                name: self._newest[name][1]
                for name in ("loss", "eval_loss")
                if name in self._newest and self._newest[name][0] == step and math.isfinite(self._newest[name][1])
            },
            is_scheduled=self.is_scheduled(state),
            conditions=conditions.to_document(),
        )
        removed = checkpoint_files.retire(target.parent, keep=self._plan.config.training.save_total_limit)
        self._link.emit(checkpoint_payload(target, manifest, removed, self._meter.times_s()))

    def _report_resume(self, logs: dict[str, Any]) -> None:
        if self._resume_report is None or self._resumed is None:
            return
        now = self._conditions.at(self._resumed.step, self._restored_rng)
        self._resume_report.emit(self._link, now, logs)
        self._resume_report = None

    def _emit_progress(self, state: TrainerState, control: TrainerControl) -> None:
        idle_since = self._meter.idle_since
        is_due = idle_since - self._progress_emitted > PROGRESS_INTERVAL_S or self.stopped_by is not None
        # The metrics of a logged step come with its progress.
        if state.is_world_process_zero and is_due and not control.should_log:
            self._progress_emitted = idle_since
            self._link.emit(self.progress(state))

    def progress(self, state: TrainerState) -> ProgressPayload:
        """The position of the training."""
        step_time_s = self._meter.step_times.value
        total_steps = state.global_step if self.ends_early(state) else state.max_steps
        left = total_steps - state.global_step
        done = self._schedule.done_at(state.global_step)
        return ProgressPayload(
            step=state.global_step,
            total_steps=total_steps,
            epoch=state.epoch,
            file=done.file + 1,
            num_files=self._schedule.num_files,
            file_progress=done.place / self._schedule.ends[done.file],
            eta_s=step_time_s * left if step_time_s else None,
            step_time_s=step_time_s,
            data_wait_s=self._meter.data_waits.value,
        )

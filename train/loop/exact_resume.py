"""A resume that changes no bit: a mixin over any trainer of TRL.

It overrides the seams of transformers' training loop (`tests/unit/train/loop/test_trainer_contract.py` lists them):

- An evaluation draws nothing from the random numbers of training, and can be cut short. Its metrics are means over the
  whole eval set (`train.loop.evaluation`), not means of batch means.
- So does an answer to the prompts of the job (`train.loop.prompt_samples`).
- The losses and metrics since the last logged step are part of a checkpoint. Logged metrics are means over tokens or
  rows, not means of the means of passes.
- With several workers, the logs of an epoch's last batch cover all workers, after a resume too.
- An adapter that begins as a part of the base weights is saved as one on the unchanged base.
- Weights that are NaN or infinite are never saved.
- A run whose steps are all done does not train another one.
- The settings of the optimizer are those of the job's config, not those that the checkpoint was made with.
- Files are trained one after another, and with another batch size or number of workers a run continues by rows
  consumed: what transformers calls an epoch is a segment of the schedule (`train.row_schedule`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft import LoraConfig, PeftModel
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PrinterCallback, TrainerControl
from transformers.trainer_utils import EvalLoopOutput, SchedulerType

from ftlab.manifest import read_manifest
from ftlab.schemas.events import RunPart
from train.all_ranks import highest
from train.checkpoints.resume_report import starts_anew
from train.loop import memory_probe
from train.loop.callback import EvaluationCut, RunCallback
from train.loop.evaluation import (
    Batch,
    BatchSums,
    Extreme,
    MetricSums,
    RankBatches,
    eval_loader,
    sum_batches,
    weighted_mean,
)
from train.loop.prompt_samples import PromptSampler
from train.loop.resumed_optimizer import OptimizerSettings, load_schedule
from train.loop.run_state import RunState, current_rng_sha256, preserve_rng, read_run_states, rng_sha256
from train.loop.sharded_training import ShardedTraining, local, reshard
from train.model.generation import write_settings_of_adapter
from train.model.initial_adapter import InitialAdapter, load_trained
from train.model.trained_precision import train_in_float32
from train.plan import StopKind
from train.row_order import SegmentSampler
from train.row_schedule import RowSchedule, Segment


class ExactResume(ShardedTraining):
    """Trains by a `RowSchedule`, from the checkpoint `resume_from` on if one is given.

    Name it before the trainer of TRL among the base classes.
    """

    eval_metrics: tuple[str, ...]
    """What `measure_batch` measures, without the prefix `eval_`."""
    metric_weights: ClassVar[Mapping[str, str]]
    """Metrics of TRL that are means over the tokens or rows of a pass, and the list in `_metrics` that counts those."""
    metric_extremes: ClassVar[Mapping[str, Extreme]] = {}
    """Metrics of TRL, and of `measure_batch`, that are the lowest or the highest value of the rows."""
    preparation: ClassVar[RunPart | None] = None
    """What the time between the beginning of a pass and its forward pass is spent on."""
    control: TrainerControl
    _metrics: dict[str, dict[str, list[float]]]
    """Values that TRL averages when it logs, for the modes `train` and `eval`."""
    _total_train_tokens: int
    """Counter of TRL."""

    def __init__(
        self,
        model: Any,
        *,
        schedule: RowSchedule,
        run_callback: RunCallback,
        resume_from: Path | None,
        is_sharded: bool = False,
        sampler: PromptSampler | None = None,
        peft_config: LoraConfig | None = None,
        **options: Any,
    ) -> None:
        self.is_sharded = is_sharded
        self._schedule = schedule
        self._run_callback = run_callback
        self._resume_from = resume_from
        self._sampler = sampler
        self._segments: Iterator[Segment] = iter(())
        """Segments left to train."""
        self._segment = next(schedule.segments_from(0)[0])
        loaded = {name: weight.data for name, weight in model.named_parameters() if weight.requires_grad}
        init = None if peft_config is None else peft_config.init_lora_weights
        if isinstance(init, str):
            assert peft_config is not None
            peft_config.init_lora_weights = True
        super().__init__(model, callbacks=[run_callback], peft_config=peft_config, **options)
        self.remove_callback(PrinterCallback)
        if isinstance(self.model, PeftModel):
            train_in_float32(self.model, loaded if isinstance(model, PeftModel) else {})
        self._initial_adapter = self._cut_adapter(init) if isinstance(init, str) else None

    def _cut_adapter(self, init: str) -> InitialAdapter:
        model: PeftModel = self.model
        initial: InitialAdapter
        if self._resume_from is None:
            initial = InitialAdapter.make(model, init)
        else:
            initial = InitialAdapter.read(self._resume_from, model.active_peft_config.r)
        initial.cut_from(model, init)
        return initial

    def get_train_dataloader(self) -> DataLoader[Any]:
        loader = super().get_train_dataloader()
        # At the last batch of an epoch, accelerate would leave ranks out of what is gathered, to make up for the rows
        # that it repeats there; they are trained like any other, and after a resume it could not do the same.
        loader._drop_last = True
        return loader

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        # The loader of transformers repeats rows until every rank has equally many.
        rows: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        args = self.args
        batches = RankBatches(len(rows), args.per_device_eval_batch_size, args.process_index, args.world_size)
        return eval_loader(rows, batches, self.data_collator)

    def set_initial_training_values(self, args: Any, dataloader: DataLoader[Any]) -> tuple[Any, ...]:
        _, _, *others, _, _ = super().set_initial_training_values(args, dataloader)
        step_size, segment = self._schedule.step_size, self._segment
        return (
            self._schedule.num_segments,
            step_size.steps(segment.num_rows),
            *others,
            step_size.passes(segment.num_rows),
            self._schedule.last_step,
        )

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        is_rescaled = self._schedule.lr_rescaled_at is not None
        steps = self._schedule.lr_steps if is_rescaled else num_training_steps
        if self.args.lr_scheduler_type == SchedulerType.POLYNOMIAL:
            # It divides by the steps after the warm-up; the rates of the warm-up do not depend on how many there are.
            steps = max(steps, self.args.warmup_steps + 1)
        scheduler = super().create_scheduler(steps, optimizer)
        if not is_rescaled:
            return scheduler
        scheduler.lr_lambdas = [_lr_rescaled(function, self._schedule) for function in scheduler.lr_lambdas]
        return scheduler

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        settings = OptimizerSettings(self.optimizer, self.lr_scheduler)
        if starts_anew(read_manifest(Path(checkpoint)).conditions["settings"], str(self.args.optim.value)):
            load_schedule(self.lr_scheduler, Path(checkpoint))
        else:
            super()._load_optimizer_and_scheduler(checkpoint)
        settings.restore()

    def _get_train_sampler(self, train_dataset: "Dataset[Any] | None" = None) -> Sampler[int] | None:
        return SegmentSampler(self._schedule, self._segment, self.args.seed)

    def _init_training_state(self, *args: Any) -> tuple[int, int]:
        super()._init_training_state(*args)
        self.state.compute_steps(self.args, self.state.max_steps)  # the intervals are this attempt's
        self._segments, passes = self._schedule.segments_from(self.state.global_step)
        return 0, passes

    def _run_epoch(self, *, epoch: int, **options: Any) -> None:
        """Train one segment; `epoch` counts those of this attempt."""
        if epoch == 0:
            self._sample_if_due()
        is_over = self.state.global_step >= self.state.max_steps or self._run_callback.ends_early(self.state)
        if is_over or self._run_callback.stopped_by is not None:
            self.control.should_training_stop = True
            return
        self._segment = next(self._segments)
        step_size = self._schedule.step_size
        if self.state.global_step == 0 and memory_probe.is_worth_it(self._schedule, use_cuda=not self.args.use_cpu):
            self._try_longest_rows(options["model"])
        shape = {
            "train_dataloader": self.get_train_dataloader(),
            "steps_in_epoch": step_size.passes(self._segment.num_rows),
            "num_update_steps_per_epoch": step_size.steps(self._segment.num_rows),
        }
        super()._run_epoch(epoch=epoch, **options | shape)

    def _try_longest_rows(self, model: Any) -> None:
        """A forward and backward pass that leaves nothing behind but a notice."""
        rows: Any = self.train_dataset
        indexes, longest = memory_probe.longest_rows(rows, self.args.per_device_train_batch_size)
        if not indexes:
            return  # the rows have no tokens before they are generated
        batch = self.data_collator([rows[index] for index in indexes])
        num_items = self._get_num_items_in_batch([batch], self.args.device)
        metrics, num_tokens = deepcopy(self._metrics), self._total_train_tokens
        self._run_callback.measuring()
        with preserve_rng():
            measured = memory_probe.measure(
                lambda: self.training_step(model, batch, num_items),
                model,
                self.args.device,
                self.args.optim,
                accumulates=self.args.gradient_accumulation_steps > 1,
            )
        model.zero_grad()
        self._metrics, self._total_train_tokens = metrics, num_tokens
        self._run_callback.measured(memory_probe.payload(measured, len(indexes), longest))

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        timer = self._run_callback.step_timer
        timer.mark(self.preparation)
        loss: torch.Tensor = super().training_step(*args, **options)
        timer.mark(RunPart.OPTIMIZER if self.accelerator.sync_gradients else None)
        return loss

    @contextmanager
    def compute_loss_context_manager(self) -> Iterator[None]:
        timer = self._run_callback.step_timer
        timer.mark(RunPart.FORWARD)
        with super().compute_loss_context_manager():
            yield
        timer.mark(RunPart.BACKWARD)

    def _maybe_log_save_evaluate(self, *args: Any, **options: Any) -> None:
        self._log_save_evaluate(*args, **options)
        self._sample_if_due()
        if self.control.should_save:  # a stop was requested meanwhile
            super()._maybe_log_save_evaluate(*args, **options)

    def _log_save_evaluate(self, *args: Any, **options: Any) -> None:
        if self.control.should_evaluate and self._run_callback.take_save_request():
            # A requested checkpoint cannot wait for an evaluation.
            is_scheduled = self._run_callback.is_scheduled(self.state)
            self.control.should_evaluate = False
            super()._maybe_log_save_evaluate(*args, **options)
            if self._run_callback.stopped_by is not None:
                return
            self.control.should_evaluate, self.control.should_save = True, is_scheduled
        super()._maybe_log_save_evaluate(*args, **options)

    def _sample_if_due(self) -> None:
        """Answer the prompts of the job, once at each step that is due and at the beginning of each attempt there."""
        step = self.state.global_step
        if self._sampler is None or not self._sampler.is_due(step) or self._run_callback.stopped_by is not None:
            return
        self._run_callback.sampling()
        with preserve_rng():
            stop = self._sampler.sample(self.model, step)
        self._run_callback.sampled(stop, self.state, self.control)

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        is_overdue = skip_scheduler and self.state.global_step > 0
        if is_overdue:
            assert self._resume_from is not None
            self._load_rng_state(str(self._resume_from))
        self._run_callback.evaluating()
        try:
            with preserve_rng():
                metrics: dict[str, float] = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)
        except EvaluationCut as cut:
            self.control.should_save = not skip_scheduler and cut.kind is not StopKind.FENCED
            self.control.should_training_stop = True
            return {}
        if is_overdue:
            # The checkpoint of this step was made without the results of the evaluation.
            self._save_checkpoint(self.model_wrapped, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)
        return metrics

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Measure every row once, and gather nothing but sums: no logits are kept."""
        self.model.eval()
        sums = MetricSums(self.eval_metrics, self.args.device, self.metric_extremes)

        def after_pass() -> None:
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

        def measure(batch: Batch) -> BatchSums:
            return self.measure_batch(self._prepare_inputs(batch))

        sum_batches(dataloader, measure, sums, after_pass, is_sharded=self.is_sharded)
        if self.is_sharded:
            reshard(self.model)
        sums.add_other_ranks()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in sums.means().items()}
        rows: Any = dataloader.dataset
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(rows))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # TRL averages over passes, and the tokens of a short one would count for more.
        metrics = self._metrics["train"]
        if self.model.training:
            weights = {name: metrics.pop(name) for name in set(self.metric_weights.values()) if name in metrics}
            for name, weight in self.metric_weights.items():
                # A checkpoint of an earlier version has passes without their weights.
                if name in metrics and len(weights.get(weight, ())) == len(metrics[name]):
                    metrics[name] = [weighted_mean(metrics[name], weights[weight])]
            for name, extreme in self.metric_extremes.items():
                if name in metrics:
                    metrics[name] = [min(metrics[name]) if extreme == "min" else max(metrics[name])]
        super().log(logs, start_time)

    def measure_batch(self, batch: Batch) -> BatchSums:
        """Sums of the `eval_metrics` over the rows of `batch`, as the training method defines them."""
        raise NotImplementedError

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._run_callback.saving()
        self._refuse_ruined_weights()
        super()._save_checkpoint(model, trial)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Skip TRL's card of each checkpoint: it is written to a folder that nobody sees, while training waits."""

    def _refuse_ruined_weights(self) -> None:
        """Raise `LossDivergedError` if a resume from these weights could only fail."""
        trained = (local(weight) for weight in self.model.parameters() if weight.requires_grad)
        is_ruined = not math.isfinite(self._tr_loss.item()) or not all(weight.isfinite().all() for weight in trained)
        if any(highest([int(is_ruined)])):
            raise self._run_callback.diverged("The loss or the weights became infinite or NaN", self.state.global_step)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if not self.args.should_save:
            return
        assert output_dir is not None
        if isinstance(self.model, PeftModel):
            write_settings_of_adapter(self.model, Path(output_dir))
        if self._initial_adapter is not None:
            self._initial_adapter.write(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self._initial_adapter is None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_trained(self.model, Path(resume_from_checkpoint))

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        state = RunState(
            rng_sha256=rng_sha256(),
            loss_sum=self._tr_loss.item(),
            last_logged_step=self._globalstep_last_logged,
            metrics=dict(self._metrics["train"]),
            num_tokens=self._total_train_tokens,
        )
        state.write(Path(output_dir), self.args.process_index)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        assert checkpoint is not None
        self._run_callback.rng_restored(current_rng_sha256())
        states = read_run_states(Path(checkpoint))
        is_same_size = len(states) == self.args.world_size
        mine = states[self.args.process_index if is_same_size else 0]
        # The logged loss is the mean over the ranks.
        loss_sum = mine.loss_sum if is_same_size else sum(state.loss_sum for state in states) / len(states)
        self._tr_loss = torch.tensor(loss_sum, device=self.args.device)
        self._globalstep_last_logged = mine.last_logged_step
        self._metrics["train"].update({name: list(values) for name, values in mine.metrics.items()})
        self._total_train_tokens = mine.num_tokens


def _lr_rescaled(function: Callable[[float], float], schedule: RowSchedule) -> Callable[[int], float]:
    return lambda step: function(schedule.lr_position(step))

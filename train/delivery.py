"""The end of a run: the best checkpoint becomes the job's model, which is then evaluated as its user will load it."""

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel

from ftlab.errors import FineTuneLabError
from ftlab.manifest import Manifest
from ftlab.schemas import JobConfig, MetricsPayload, NoticePayload, ProgressPayload
from ftlab.schemas.events import FINAL_EVAL_LOSS
from train.checkpoints import checkpoint_files
from train.checkpoints.resume import report_set_aside
from train.failures.classify import classify
from train.loop.run_context import EarlyStop, RunContext
from train.methods import Evaluate, find_evaluate
from train.model.base_model import BaseModel
from train.model.load import load_delivered
from train.plan import Outcome, Phase, RunLink, TrainingPlan
from train.reporting.run_metrics import best_evaluated_step

FLOAT32_TOLERANCE = 1e-5
"""Difference between two eval losses of one model, relative or absolute, that sums in another order can make."""
LOW_PRECISION_TOLERANCE = 5e-3
"""The same difference for 16-bit numbers, in the weights or in the computation, as with 4-bit weights: about 2^-8, the
precision of bfloat16.
"""
FINAL_EVAL_MARK = ".final-eval"
"""Name of a file in the job's folder that exists while the tuned model is evaluated.

It remains if the attempt is killed there, for example for lack of memory. The retry then delivers without evaluating,
because it would be killed there too.
"""

logger = logging.getLogger("ftlab.run")


@dataclass(frozen=True)
class TrainedRun:
    """State of a run after its trainer has ended."""

    outcome: Outcome
    base: BaseModel
    pad_token_id: int
    eval_set: Dataset | None
    eval_losses: dict[int, float]
    """Eval losses by step, of all attempts of the job."""
    progress: ProgressPayload
    """Position of the training at its end."""


def deliver(run: RunContext, trained: TrainedRun) -> Outcome:
    """Publish the model and evaluate it. Rank 0 calls it, alone."""
    run.heartbeat.enter(Phase.DELIVERING)
    delivered = _publish(run.plan, run.link)
    if trained.outcome.ended_early is not None:
        message = f"{trained.outcome.ended_early} The checkpoint of step {delivered.step} was delivered."
        run.link.emit(NoticePayload(code="stopped_early", message=message))
    _report_no_improvement(run.link, trained.eval_losses, delivered.step)
    # Of a method that evaluates by generated answers, rounding may make the delivered model draw others.
    evaluate = find_evaluate(run.plan.config.method.type)
    if trained.eval_set is not None and evaluate is not None:
        mark = run.plan.job_folder / FINAL_EVAL_MARK
        if mark.exists():
            _emit_skipped(run.link, "an earlier attempt ended abruptly while it did so")
        else:
            _evaluate(run, trained, trained.eval_set, delivered, mark, evaluate)
        mark.unlink(missing_ok=True)
    return replace(trained.outcome, delivered_step=delivered.step)


def _publish(plan: TrainingPlan, link: RunLink) -> Manifest:
    """Publish the best checkpoint, or the last one if no eval loss was measured; return the manifest of the model.

    A checkpoint that broke since its commit is set aside, and the next best takes its place.
    """
    while saved := dict(checkpoint_files.committed(plan.checkpoints_folder)):
        wants_best = plan.config.training.load_best_model_at_end
        best = checkpoint_files.best_step(plan.checkpoints_folder) if wants_best else None
        step = max(saved) if best is None else best
        try:
            manifest = checkpoint_files.deliver(saved[step], plan.model_folder)
        except ValueError as error:
            checkpoint_files.set_aside(saved[step])
            report_set_aside(link, str(error))
        else:
            checkpoint_files.sweep(plan.checkpoints_folder)
            return manifest
    raise FineTuneLabError(
        "Every checkpoint of the job is damaged. Check the disk, then submit the job again.", "checkpoint_corrupt"
    )


def _report_no_improvement(link: RunLink, losses: dict[int, float], delivered_step: int) -> None:
    best = best_evaluated_step(losses)
    if best is None or 0 not in losses or losses[best] < losses[0]:
        return
    message = (
        f"The evaluation loss never fell below the base model's: it was {losses[0]:.6g} before training and "
        f"{losses[best]:.6g} at its lowest, at step {best}; the checkpoint of step {delivered_step} was delivered."
    )
    link.emit(NoticePayload(code="eval_never_improved", message=message))


def _evaluate(
    run: RunContext, trained: TrainedRun, rows: Dataset, delivered: Manifest, mark: Path, evaluate: Evaluate
) -> None:
    """Evaluate the delivered files. The job has its model: no error here may fail it."""
    link = run.link
    try:
        mark.touch()
        loss, tolerance = _final_eval_loss(run, trained, rows, evaluate)
    except EarlyStop as stop:
        _emit_skipped(link, f"the run was asked to stop ({stop.kind})")
        return
    except Exception as error:
        logger.warning("The tuned model could not be evaluated.", exc_info=error)
        reason = classify(error, run.plan.job_folder).reason
        message = f"The model was delivered, but evaluating it failed ({reason}). The job's log has the traceback."
        link.emit(NoticePayload(code="final_eval_failed", message=message))
        return
    if math.isfinite(loss):
        position = trained.progress.to_data() | {"step": delivered.step}
        link.emit(MetricsPayload(**position, values={FINAL_EVAL_LOSS: loss}))
        # The delivered step may be an earlier one; the job stays at its last.
        link.emit(trained.progress)
    measured = delivered.metrics.get("eval_loss")
    if measured is not None and not abs(loss - measured) <= tolerance * max(1.0, abs(measured)):
        message = (
            f"The tuned model has an evaluation loss of {loss:.6g}, but {measured:.6g} was measured at step "
            f"{delivered.step} during training."
        )
        link.emit(NoticePayload(code="final_eval_differs", message=message))


def _final_eval_loss(run: RunContext, trained: TrainedRun, rows: Dataset, evaluate: Evaluate) -> tuple[float, float]:
    """The eval loss of the delivered files, and how far it may be from the one measured during training.

    Raises `EarlyStop` when a stop is requested, or the time limit is used up.
    """
    plan, config = run.plan, run.plan.config

    def check_in() -> None:
        run.heartbeat.beat()
        run.stop_poll.raise_if_requested_here()

    run.heartbeat.enter(Phase.LOADING)
    check_in()
    model = load_delivered(trained.base, plan.model_folder, config, use_cuda=plan.use_cuda)
    run.heartbeat.enter(Phase.EVALUATING)
    check_in()
    is_mixed = config.training.bf16 or config.training.fp16
    dtype = torch.float16 if config.training.fp16 else torch.bfloat16
    with torch.autocast(model.device.type, dtype, enabled=is_mixed):
        means = evaluate(
            model,
            rows,
            config.method,
            pad_token_id=trained.pad_token_id,
            batch_size=config.training.per_device_eval_batch_size,
            after_pass=check_in,
        )
    return means["loss"], _tolerance(model, config)


def _tolerance(model: PreTrainedModel | PeftModel, config: JobConfig) -> float:
    is_float32 = all(weight.dtype == torch.float32 for weight in model.parameters())
    is_mixed = config.training.bf16 or config.training.fp16
    return FLOAT32_TOLERANCE if is_float32 and not is_mixed else LOW_PRECISION_TOLERANCE


def _emit_skipped(link: RunLink, why: str) -> None:
    message = f"The model was delivered, but not evaluated: {why}."
    link.emit(NoticePayload(code="final_eval_skipped", message=message))

"""One attempt of a job on one set of devices, from the plan to the delivered model."""

import gc
import os
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from datasets import concatenate_datasets
from transformers import PrinterCallback, set_seed
from transformers.utils import logging as transformers_logging
from trl import SFTConfig

from ftlab.errors import ConflictError, FineTuneLabError
from ftlab.schemas import EventKind
from train.checkpoints import checkpoint_files
from train.checkpoints.resume import find_checkpoint, is_evaluation_overdue, tell_set_aside
from train.failures import tell_full_disk
from train.loop.callback import Run, RunCallback
from train.loop.collator import RowCollator, refuse_contamination
from train.loop.heartbeat import Pulse
from train.loop.load_rows import load_rows
from train.loop.stop_poll import EarlyStop, Stops
from train.loop.trainer import RunTrainer
from train.model.base_model import BaseModel, find_model
from train.model.load import load_model, lora_config, train_in_float32
from train.model.tokenizer import load_tokenizer
from train.plan import Ending, Outcome, Phase, RunLink, RunPlan
from train.row_schedule import Course

# Files of a checkpoint that only a resume needs; the rest makes it usable as a model.
_TRAINING_STATE = ("optimizer.pt", "scheduler.pt", "trainer_state.json", "training_args.bin")


def run(plan: RunPlan, link: RunLink) -> Outcome:
    """Train as `plan` says. Every rank of the run calls it; rank 0 commits and delivers.

    Raises whatever goes wrong; `train.failures.classify` makes a reason of it.
    """
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(plan.threads)
    if plan.use_cuda and plan.gpu_fraction is not None:
        torch.cuda.set_per_process_memory_fraction(plan.gpu_fraction)
    set_seed(plan.config.training.seed)
    run = Run(plan, link, Pulse(link), Stops(link, plan.time_left_s))
    try:
        outcome = _train(run)
        _free_memory()
        if outcome.ending is Ending.STOPPED or not _is_main():
            return outcome
        run.pulse.enter(Phase.DELIVERING)
        return replace(outcome, delivered_step=_deliver(plan, link))
    except EarlyStop as stop:
        saved = checkpoint_files.committed(plan.checkpoints_folder)
        step = saved[-1][0] if saved else 0
        return Outcome(Ending.STOPPED, step, stop.kind, saved_step=step or None)
    except Exception as error:
        tell_full_disk(error, plan.job_folder)
        raise
    finally:
        if _is_main():
            shutil.rmtree(_writing_folder(plan), ignore_errors=True)
        _free_memory()


def _train(run: Run) -> Outcome:
    plan, link, pulse, stops = run.plan, run.link, run.pulse, run.stops
    pulse.enter(Phase.LOADING)
    stops.leave_if_asked()
    base = find_model(plan.model, plan.models_folder, pinned=plan.pinned_revision)
    _check_revision(base, plan)
    tokenizer = load_tokenizer(base)
    prepared = [load_rows(run, file, base, tokenizer) for file in plan.train_files]
    train_sets = [rows.dataset() for rows in prepared]
    eval_rows = load_rows(run, plan.eval_file, base, tokenizer, is_eval=True) if plan.eval_file else None
    eval_set = eval_rows.dataset() if eval_rows else None
    found = find_checkpoint(plan, link if _is_main() else None)
    resume_from, resumed = found or (None, None)
    stops.leave_if_asked()
    model = load_model(base, plan.config, use_cuda=plan.use_cuda)
    stops.leave_if_asked()

    collator = RowCollator.for_model(model, tokenizer.pad_token_id) if plan.config.method.packing else None
    course = _course(plan, [len(train_set) for train_set in train_sets], resumed)
    callback = RunCallback(run, base, course, has_eval=eval_set is not None, resumed=resumed)
    needs_adapter = plan.config.tuning == "lora" and base.adapter is None
    is_evaluated = resume_from is not None and not is_evaluation_overdue(plan, resume_from, course.last_step)
    trainer = RunTrainer(
        model,
        course=course,
        run_callback=callback,
        resume_from=resume_from,
        args=_arguments(plan, evaluates_first=eval_set is not None and not is_evaluated),
        train_dataset=concatenate_datasets(train_sets),
        eval_dataset=eval_set,
        processing_class=tokenizer,
        data_collator=collator,
        peft_config=lora_config(plan.config) if needs_adapter else None,
    )
    if plan.config.load_in_4bit:
        train_in_float32(trainer.model)
    if collator is not None:
        refuse_contamination(trainer.model, collator)
    trainer.remove_callback(PrinterCallback)
    stops.leave_if_asked()
    link.emit(EventKind.STATUS, {"status": "running", "base_model": base.name, "base_revision": base.revision})
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)

    step = trainer.state.global_step
    return Outcome(
        Ending.FINISHED if callback.stopped_by is None else Ending.STOPPED,
        step,
        callback.stopped_by,
        has_saved=callback.stopped_by is not None and callback.saved_step == step,
        saved_step=callback.saved_step or (resumed.step if resumed else None),
        base_model=base.name,
        base_revision=base.revision,
    )


def _course(plan: RunPlan, rows: list[int], resumed: checkpoint_files.Manifest | None) -> Course:
    """The run's way through its rows; a checkpoint tells when it was made at another pace, or with fewer files."""
    training = plan.config.training
    planned = Course.planned(training, rows, int(os.environ.get("WORLD_SIZE", "1")))
    if resumed is None:
        return planned
    before = Course.from_document(resumed.traits["course"])
    if before.rows != planned.rows[: before.num_files]:
        return planned
    has_more_files = before.num_files < planned.num_files
    if before.is_planned and before.pace == planned.pace and not has_more_files:
        return planned
    course = before
    if before.pace != planned.pace and (has_more_files or resumed.step < before.last_step):
        course = course.changed(resumed.step, planned.pace)
    return course.extended(resumed.step, rows, training) if has_more_files else course


def _arguments(plan: RunPlan, *, evaluates_first: bool) -> SFTConfig:
    training = plan.config.training
    return SFTConfig(
        output_dir=str(_writing_folder(plan)),
        per_device_train_batch_size=training.per_device_train_batch_size,
        per_device_eval_batch_size=training.per_device_eval_batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps or -1,
        learning_rate=plan.config.learning_rate,
        lr_scheduler_type=training.lr_scheduler_type,
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        optim=training.optim,
        logging_steps=training.logging_steps,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if plan.eval_rows and training.eval_steps else "no",
        eval_steps=training.eval_steps,
        eval_on_start=evaluates_first,
        eval_accumulation_steps=training.eval_accumulation_steps,
        save_strategy="steps",
        save_steps=training.save_steps,
        activation_checkpointing=training.gradient_checkpointing,
        bf16=training.bf16,
        fp16=training.fp16,
        seed=training.seed,
        data_seed=training.seed,
        use_cpu=not plan.use_cuda,
        ddp_backend="gloo" if torch.distributed.is_initialized() and not plan.use_cuda else None,
        max_length=plan.config.method.max_length,
        dataset_kwargs={"skip_prepare_dataset": True},
        report_to=[],
        disable_tqdm=True,
        save_only_model=False,
    )


def _check_revision(base: BaseModel, plan: RunPlan) -> None:
    if plan.pinned_revision not in (None, base.revision):
        raise ConflictError(
            f"The base model {base.name} changed since the job's first attempt (was {plan.pinned_revision}, is "
            f"{base.revision}). Put the first revision back, or submit a new job.",
            "model_changed",
            "model",
        )


def _is_main() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _writing_folder(plan: RunPlan) -> Path:
    """Where the attempt writes its checkpoints before they are committed."""
    return plan.checkpoints_folder / f".tmp-{plan.attempt}"


def _deliver(plan: RunPlan, link: RunLink) -> int:
    """Publish the best checkpoint, or the last one where no eval loss was measured; return its step.

    One that broke since it was committed is set aside, and the next best takes its place.
    """
    while saved := dict(checkpoint_files.committed(plan.checkpoints_folder)):
        wants_best = plan.config.training.load_best_model_at_end
        best = checkpoint_files.best_step(plan.checkpoints_folder) if wants_best else None
        step = max(saved) if best is None else best
        try:
            checkpoint_files.deliver(saved[step], plan.model_folder, is_wanted=_is_model_file)
        except ValueError as error:
            checkpoint_files.set_aside(saved[step])
            tell_set_aside(link, str(error))
        else:
            checkpoint_files.sweep(plan.checkpoints_folder)
            return step
    raise FineTuneLabError(
        "Every checkpoint of the job is broken. Check the disk, then submit the job again.", "checkpoint_corrupt"
    )


def _is_model_file(name: str) -> bool:
    return "/" not in name and name not in _TRAINING_STATE and not name.startswith(("rng_state", "run_state"))


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()

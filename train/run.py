"""One attempt of a job on one set of devices, from the plan to the delivered model."""

import gc
import os
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, set_seed
from transformers.utils import logging as transformers_logging
from trl import SFTConfig, SFTTrainer

from ftlab.errors import ConflictError, FineTuneLabError
from ftlab.schemas import EventKind, JobConfig
from train import checkpoints
from train.callback import RunCallback
from train.data.encode import encode_rows
from train.data.read import read_rows
from train.model import BaseModel, find_model, load_model, load_tokenizer, lora_config, train_in_float32
from train.plan import Ending, Outcome, RunLink, RunPlan
from train.resume import find_checkpoint, tell_set_aside

# Files of a checkpoint that only a resume needs; the rest makes it usable as a model.
_TRAINING_STATE = ("optimizer.pt", "scheduler.pt", "trainer_state.json", "training_args.bin")


def run(plan: RunPlan, link: RunLink) -> Outcome:
    """Train as `plan` says. Every rank of the run calls it; rank 0 commits and delivers.

    Raises whatever goes wrong; `train.failures.classify` makes a reason of it.
    """
    config = plan.config
    is_main = int(os.environ.get("RANK", "0")) == 0
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(plan.threads)
    set_seed(config.training.seed)

    base = find_model(plan.model, plan.models_folder, pinned=plan.pinned_revision)
    _check_revision(base, plan)
    tokenizer = load_tokenizer(base)
    train_set = _load_rows(plan.train_rows, tokenizer, config, link if is_main else None, "train")
    eval_set = _load_rows(plan.eval_rows, tokenizer, config, link if is_main else None, "eval")
    resume_from = find_checkpoint(plan, link if is_main else None)
    model = load_model(base, config, use_cuda=plan.use_cuda)

    callback = RunCallback(plan, link, base, samples_per_step=_samples_per_step(config), has_eval=eval_set is not None)
    needs_adapter = config.tuning == "lora" and base.adapter is None
    trainer = SFTTrainer(
        model,
        args=_arguments(plan),
        train_dataset=train_set,
        eval_dataset=eval_set,
        processing_class=tokenizer,
        peft_config=lora_config(config) if needs_adapter else None,
        callbacks=[callback],
    )
    if config.load_in_4bit:
        train_in_float32(trainer.model)
    trainer.remove_callback(PrinterCallback)
    link.emit(EventKind.STATUS, {"status": "running", "base_model": base.name, "base_revision": base.revision})
    if eval_set is not None and resume_from is None:
        trainer.evaluate()
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)

    step = trainer.state.global_step
    del trainer, model
    _free_memory()
    if callback.stopped_by is not None:
        return Outcome(Ending.STOPPED, step, callback.stopped_by, base_model=base.name, base_revision=base.revision)
    delivered = _deliver(plan, link) if is_main else None
    return Outcome(Ending.FINISHED, step, delivered_step=delivered, base_model=base.name, base_revision=base.revision)


def _arguments(plan: RunPlan) -> SFTConfig:
    training = plan.config.training
    return SFTConfig(
        output_dir=str(plan.checkpoints_folder / f".tmp-{plan.attempt}"),
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
        eval_accumulation_steps=training.eval_accumulation_steps,
        save_strategy="steps",
        save_steps=training.save_steps,
        activation_checkpointing=training.gradient_checkpointing,
        bf16=training.bf16,
        fp16=training.fp16,
        seed=training.seed,
        use_cpu=not plan.use_cuda,
        ddp_backend="gloo" if torch.distributed.is_initialized() and not plan.use_cuda else None,
        max_length=plan.config.method.max_length,
        dataset_kwargs={"skip_prepare_dataset": True},
        report_to=[],
        disable_tqdm=True,
        save_only_model=False,
    )


def _load_rows(file: Path | None, tokenizer: Any, config: JobConfig, link: RunLink | None, name: str) -> Dataset | None:
    if file is None:
        return None
    encoded = encode_rows(
        read_rows(file),
        tokenizer,
        max_length=config.method.max_length,
        assistant_only_loss=config.method.assistant_only_loss,
    )
    if link is not None and (encoded.num_truncated or encoded.num_untrained_rows):
        link.emit(
            EventKind.NOTICE,
            {
                "code": "rows_cut",
                "message": f"Of the {name} rows, {encoded.num_truncated} were cut to {config.method.max_length} "
                f"tokens ({encoded.num_dropped_tokens} tokens lost) and {encoded.num_untrained_rows} were left out, "
                "because no word of the assistant was left.",
            },
        )
    return Dataset.from_dict({"input_ids": encoded.input_ids, "labels": encoded.labels})


def _check_revision(base: BaseModel, plan: RunPlan) -> None:
    if plan.pinned_revision not in (None, base.revision):
        raise ConflictError(
            f"The base model {base.name} changed since the job's first attempt (was {plan.pinned_revision}, is "
            f"{base.revision}). Put the first revision back, or submit a new job.",
            "model_changed",
            "model",
        )


def _samples_per_step(config: JobConfig) -> int:
    training = config.training
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    return training.per_device_train_batch_size * training.gradient_accumulation_steps * world_size


def _deliver(plan: RunPlan, link: RunLink) -> int:
    """Publish the best checkpoint, or the last one where no eval loss was measured; return its step.

    One that broke since it was committed is set aside, and the next best takes its place.
    """
    while saved := dict(checkpoints.committed(plan.checkpoints_folder)):
        best = checkpoints.best_step(plan.checkpoints_folder) if plan.config.training.load_best_model_at_end else None
        step = max(saved) if best is None else best
        try:
            checkpoints.deliver(saved[step], plan.model_folder, is_wanted=_is_model_file)
        except ValueError as error:
            checkpoints.set_aside(saved[step])
            tell_set_aside(link, str(error))
        else:
            checkpoints.sweep(plan.checkpoints_folder)
            return step
    raise FineTuneLabError(
        "Every checkpoint of the job is broken. Check the disk, then submit the job again.", "checkpoint_corrupt"
    )


def _is_model_file(name: str) -> bool:
    return "/" not in name and name not in _TRAINING_STATE and not name.startswith("rng_state")


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()

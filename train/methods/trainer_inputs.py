"""Inputs of a trainer that do not depend on the training method."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from train.loop.callback import RunCallback
from train.loop.prompt_samples import PromptSampler
from train.model.load import lora_config
from train.plan import TrainingPlan
from train.row_schedule import RowSchedule


@dataclass(frozen=True)
class TrainerInputs:
    """Everything that a run has loaded and planned before it makes its trainer."""

    plan: TrainingPlan
    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    train_set: Dataset
    eval_set: Dataset | None
    schedule: RowSchedule
    callback: RunCallback
    resume_from: Path | None
    """Folder of the checkpoint to resume from."""
    evaluates_first: bool
    """Whether to evaluate before the first step."""
    sampler: PromptSampler | None = None
    """Answers `training.sample_prompts`; `None` for a job without them."""

    def trainer_options(self) -> dict[str, Any]:
        """Arguments of the trainer itself: those of `ExactResume`, and those that all trainers of TRL share."""
        config = self.plan.config
        needs_adapter = config.tuning == "lora" and not isinstance(self.model, PeftModel)
        return {
            "schedule": self.schedule,
            "run_callback": self.callback,
            "resume_from": self.resume_from,
            "sampler": self.sampler,
            "is_sharded": config.resources.sharding == "fsdp",
            "train_dataset": self.train_set,
            "eval_dataset": self.eval_set,
            "processing_class": self.tokenizer,
            "peft_config": lora_config(config) if needs_adapter else None,
        }

    def training_arguments(self) -> dict[str, Any]:
        """Arguments of transformers' `TrainingArguments`, on which the config of every trainer of TRL is based."""
        plan, training = self.plan, self.plan.config.training
        return {
            "output_dir": str(plan.writing_folder),
            "per_device_train_batch_size": training.per_device_train_batch_size,
            "per_device_eval_batch_size": training.per_device_eval_batch_size,
            "gradient_accumulation_steps": training.gradient_accumulation_steps,
            "num_train_epochs": training.num_train_epochs,
            "max_steps": training.max_steps or -1,
            "learning_rate": plan.config.learning_rate,
            "lr_scheduler_type": training.lr_scheduler_type,
            "warmup_steps": training.num_warmup_steps(self.schedule.lr_steps),
            "weight_decay": training.weight_decay,
            "adam_beta1": training.adam_beta1,
            "adam_beta2": training.adam_beta2,
            "adam_epsilon": training.adam_epsilon,
            "neftune_noise_alpha": training.neftune_noise_alpha,
            "max_grad_norm": training.max_grad_norm,
            "optim": training.optim,
            "logging_steps": training.logging_steps,
            "logging_nan_inf_filter": False,
            "eval_strategy": "steps" if self.eval_set is not None and training.eval_steps else "no",
            "eval_steps": training.eval_steps,
            "eval_on_start": self.evaluates_first,
            "eval_accumulation_steps": training.eval_accumulation_steps,
            "save_strategy": "steps",
            "save_steps": training.save_steps,
            "bf16": training.bf16,
            "fp16": training.fp16,
            "dataloader_num_workers": training.dataloader_num_workers,
            "dataloader_prefetch_factor": training.dataloader_prefetch_factor,
            "seed": training.seed,
            "data_seed": training.seed,
            "use_cpu": not plan.use_cuda,
            "ddp_backend": "gloo" if torch.distributed.is_initialized() and not plan.use_cuda else None,
            "report_to": [],
            "disable_tqdm": True,
            "save_only_model": False,
        }

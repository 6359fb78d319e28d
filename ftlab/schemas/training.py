"""The group `training` of a job's config: settings of transformers' `TrainingArguments`, and the job's own ones."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ftlab.schemas.auto import OrAuto, is_auto
from ftlab.schemas.common import StrictModel
from ftlab.schemas.sample_prompts import SamplePrompts

CountUpTo4096 = Annotated[int, Field(ge=1, le=4096)]
CountOrAuto = Annotated[int, Field(ge=1, le=4096), OrAuto()]
FlagOrAuto = Annotated[bool, OrAuto()]
Steps = Annotated[int, Field(ge=1, le=10_000_000)]
Optimizer = Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"]


class TrainingConfig(StrictModel):
    """How to train (transformers `TrainingArguments`)."""

    per_device_train_batch_size: CountOrAuto = 4
    """Rows of one forward and backward pass on one device."""
    per_device_eval_batch_size: CountOrAuto = 4
    """Rows of one forward pass of an evaluation."""
    gradient_accumulation_steps: CountOrAuto = 1
    """Forward and backward passes of one optimizer step."""
    num_train_epochs: Annotated[float, Field(gt=0.0, le=1000.0), OrAuto()] = 3.0
    """Passes over each dataset. With a fraction, the last pass is cut short: the steps are rounded up."""
    max_steps: Steps | None = None
    """Optimizer steps; overrides `num_train_epochs` when given. With several datasets that are trained one after
    another, it only limits the run."""
    learning_rate: Annotated[float | None, Field(gt=0.0, le=1.0), OrAuto()] = None
    """Peak learning rate. Default: for `sft`, 2e-4 with LoRA and 2e-5 for full fine-tuning; for `dpo`, `kto` and
    `grpo`, 1e-5 and 1e-6; for `reward`, 1e-4 and 1e-5."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"] = "cosine"
    """How the learning rate changes after the warm-up."""
    warmup_steps: int = Field(default=0, ge=0, le=10_000_000)
    """Steps over which the learning rate rises to its peak."""
    warmup_ratio: Annotated[float, Field(ge=0.0, le=1.0), OrAuto()] = 0.0
    """Share of the run's steps over which the learning rate rises to its peak, instead of `warmup_steps`."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=10.0)
    """Share of each weight that the optimizer subtracts per step, times the learning rate."""
    adam_beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Decay of AdamW's mean of the gradients."""
    adam_beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of AdamW's mean of the squared gradients."""
    adam_epsilon: float = Field(default=1e-8, gt=0.0, le=1.0)
    """Added to the denominator of AdamW's update."""
    neftune_noise_alpha: float | None = Field(default=None, gt=0.0, le=1000.0)
    """Strength of the noise that is added to the embeddings of the training rows (NEFTune), for example 5."""
    max_grad_norm: float = Field(default=1.0, ge=0.0, le=1000.0)
    """Gradients are clipped to this norm; 0 turns clipping off."""
    optim: Optimizer | None = None
    """The 8-bit kinds are those of bitsandbytes; `paged_adamw_8bit` needs a GPU. Default: `adamw_torch_fused` on a GPU,
    else `adamw_torch`."""
    logging_steps: Steps = 1
    """Steps between two logs of the metrics."""
    eval_steps: Steps | None = None
    """Steps between evaluations. Default: at the start and at the end only."""
    sample_prompts: SamplePrompts | None = None
    """Prompts that the model answers at the steps of an evaluation, also without an eval dataset."""
    sample_max_new_tokens: int = Field(default=128, ge=1, le=1024)
    """Most tokens of such an answer."""
    eval_accumulation_steps: CountUpTo4096 | None = None
    """Accepted, without effect: an evaluation keeps only sums, so its results need no memory on the device."""
    early_stopping_patience: int | None = Field(default=None, ge=1, le=1_000_000)
    """Evaluations in a row without a lower eval loss after which the run ends. Default: it trains all its steps."""
    early_stopping_threshold: float = Field(default=0.0, ge=0.0, le=1000.0)
    """How much lower than before an eval loss must be to count as an improvement."""
    save_steps: Steps = 50
    """Steps between checkpoints; the last step is always saved."""
    save_total_limit: int = Field(default=3, ge=1, le=1000)
    """Checkpoints kept besides the best one."""
    load_best_model_at_end: bool = True
    """Deliver the checkpoint with the lowest eval loss, where one was measured."""
    gradient_checkpointing: FlagOrAuto = False
    """Recompute activations in the backward pass: less memory, more time."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Data type the base weights are loaded in; `auto` takes the type they were saved in for LoRA, float32 for full
    fine-tuning."""
    bf16: FlagOrAuto | None = None
    """Mixed precision with bfloat16. Default: on GPUs of compute capability 8 or higher, where neither `fp16` nor
    `dtype` is set."""
    fp16: FlagOrAuto | None = None
    """Mixed precision with float16 and loss scaling (GPU only). Default: on older GPUs, where neither `bf16` nor
    `dtype` is set."""
    dataloader_num_workers: Annotated[int, Field(ge=0, le=64), OrAuto()] = 0
    """Processes of each training process that put its batches together; 0 does it between two steps."""
    dataloader_prefetch_factor: int | None = Field(default=None, ge=1, le=1024)
    """Batches that each of them prepares ahead. Default: 2."""
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Seed of all random numbers."""

    @model_validator(mode="after")
    def _one_mixed_precision(self) -> Self:
        is_chosen_later = is_auto(self.bf16) and is_auto(self.fp16)
        if self.bf16 and self.fp16 and not is_chosen_later:
            raise ValueError("training.bf16 and training.fp16 cannot be combined; set one of them")
        return self

    @model_validator(mode="after")
    def _polynomial_falls(self) -> Self:
        if self.learning_rate is None or is_auto(self.learning_rate):
            return self
        if self.lr_scheduler_type == "polynomial" and self.learning_rate <= 1e-7:
            raise ValueError(
                f"training.learning_rate ({self.learning_rate:g}) must be above 1e-07 with the schedule 'polynomial', "
                "which ends at that rate; set a higher rate or another training.lr_scheduler_type"
            )
        return self

    @model_validator(mode="after")
    def _early_stopping_has_evaluations(self) -> Self:
        if self.early_stopping_patience is None and self.early_stopping_threshold:
            raise ValueError(
                f"training.early_stopping_threshold ({self.early_stopping_threshold:g}) needs "
                "training.early_stopping_patience, the number of evaluations without an improvement"
            )
        if self.early_stopping_patience is not None and self.eval_steps is None:
            raise ValueError(
                f"training.early_stopping_patience ({self.early_stopping_patience}) needs training.eval_steps: without "
                "it, the model is evaluated at the start and at the end only"
            )
        return self

    @model_validator(mode="after")
    def _prefetch_has_workers(self) -> Self:
        if self.dataloader_prefetch_factor is not None and not self.dataloader_num_workers:
            raise ValueError(
                f"training.dataloader_prefetch_factor ({self.dataloader_prefetch_factor}) needs "
                "training.dataloader_num_workers above 0: without workers, no batch is prepared ahead"
            )
        return self

    @model_validator(mode="after")
    def _one_warmup(self) -> Self:
        if self.warmup_steps and self.warmup_ratio:
            ratio = self.warmup_ratio if is_auto(self.warmup_ratio) else f"{self.warmup_ratio:g}"
            raise ValueError(
                f"training.warmup_steps ({self.warmup_steps}) and training.warmup_ratio ({ratio}) cannot be combined; "
                "set one of them"
            )
        return self

    @model_validator(mode="after")
    def _warmup_fits(self) -> Self:
        if self.max_steps is not None and self.warmup_steps > self.max_steps:
            raise ValueError(
                f"training.warmup_steps ({self.warmup_steps}) must not be above training.max_steps ({self.max_steps}): "
                "the learning rate would never reach its peak"
            )
        return self

    def num_warmup_steps(self, num_steps: int) -> int:
        """Steps of the warm-up in a run of `num_steps`; a share of them is rounded up, as in transformers."""
        return self.warmup_steps or math.ceil(self.warmup_ratio * num_steps)

    @property
    def uses_adam(self) -> bool:
        """Whether the optimizer is a kind of AdamW, which the settings `adam_*` are for."""
        return self.optim is None or "adamw" in self.optim

"""Which settings of a job may change when it resumes from a checkpoint: one table, with a reason for each.

Before its first checkpoint, a job starts from its base model, and everything may change but its name and the jobs that
it waits for.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from ftlab.schemas.adjustments import Change
from ftlab.schemas.config_changes import adjusted, changes_between
from ftlab.schemas.job_file import parse_job_config


class Effect(StrEnum):
    """What a changed setting does to a run that resumes from a checkpoint."""

    FREE = "free"
    """It changes no weight."""
    CONTINUES = "continues, not bit for bit"
    """It is in force from the first step after the checkpoint on, and the receipt of the resume names it."""
    NEW_JOB = "needs a new job"
    """A checkpoint does not fit it, or what was measured before could not be compared with what is measured after."""


F, C, N = Effect.FREE, Effect.CONTINUES, Effect.NEW_JOB

_BASE = "the weights in the checkpoint belong to this base model"
_ROWS = "the checkpoint is a position in these rows"
_EVAL = "eval losses of before and after could not be compared, and the best checkpoint is chosen by them"
_ADAPTER = "the adapter in the checkpoint was made with it"
_OBJECTIVE = "the loss of before and after could not be compared"
_LENGTH = "the learning rate schedule and the rows are planned for the whole run"

SETTING_CHANGES: dict[str, tuple[Effect, str]] = {
    "name": (N, "the job keeps the name by which it is found"),
    "register_as": (F, "read when the job completes"),
    "model": (N, _BASE),
    "dataset": (N, f"{_ROWS}; files are appended with 'ftlab append'"),
    "dataset_weights": (N, _ROWS),
    "eval_dataset": (N, _EVAL),
    "eval_split": (N, _ROWS),
    "eval_split_seed": (N, _ROWS),
    "eval_split_files": (N, _ROWS),
    "tuning": (N, "the checkpoint has an adapter, or all weights"),
    "load_in_4bit": (C, "the adapter continues on rounded base weights"),
    "load_in_8bit": (C, "the adapter continues on rounded base weights"),
    "max_retries": (F, "read when an attempt has ended"),
    "recovery": (F, "read when an attempt has ended"),
    "after": (N, "the jobs that it waits for are decided when it is submitted"),
    "priority": (F, "decides the place in the queue"),
    "preemptible": (F, "read by the scheduler"),
    "time_limit_s": (F, "all attempts together count, those before the resume too"),
    "max_cost": (F, "all attempts together count, those before the resume too"),
    "stuck_timeout_s": (F, "read by the watchdog"),
    "first_step_timeout_s": (F, "read by the watchdog"),
    "lora.r": (N, _ADAPTER),
    "lora.lora_alpha": (N, _ADAPTER),
    "lora.lora_dropout": (C, "dropout has no state"),
    "lora.target_modules": (N, _ADAPTER),
    "lora.modules_to_save": (N, _ADAPTER),
    "lora.use_rslora": (N, _ADAPTER),
    "lora.use_dora": (N, _ADAPTER),
    "lora.init_lora_weights": (N, _ADAPTER),
    "resources.num_workers": (C, "every remaining row is trained once"),
    "resources.gpus_per_worker": (C, "another device adds numbers in another order"),
    "resources.cpus_per_worker": (C, "other threads add numbers in another order"),
    "resources.sharding": (C, "the steps are the same, added up in another order"),
    "training.per_device_train_batch_size": (C, "every remaining row is trained once"),
    "training.per_device_eval_batch_size": (F, "an eval loss is the mean over all rows"),
    "training.gradient_accumulation_steps": (C, "every remaining row is trained once"),
    "training.num_train_epochs": (N, _LENGTH),
    "training.max_steps": (N, _LENGTH),
    "training.learning_rate": (C, "the schedule continues at its place with the new peak"),
    "training.lr_scheduler_type": (C, "the new schedule begins at the step of the checkpoint"),
    "training.warmup_steps": (C, "the new schedule begins at the step of the checkpoint"),
    "training.warmup_ratio": (C, "the new schedule begins at the step of the checkpoint"),
    "training.weight_decay": (C, "a setting of the optimizer, which keeps its state"),
    "training.adam_beta1": (C, "a setting of the optimizer, which keeps its state"),
    "training.adam_beta2": (C, "a setting of the optimizer, which keeps its state"),
    "training.adam_epsilon": (C, "a setting of the optimizer, which keeps its state"),
    "training.neftune_noise_alpha": (C, "noise has no state"),
    "training.max_grad_norm": (C, "clipping has no state"),
    "training.optim": (C, "the new optimizer starts without the state of the other one"),
    "training.logging_steps": (F, "decides what is reported"),
    "training.eval_steps": (F, "an evaluation changes no weight"),
    "training.sample_prompts": (F, "an answer changes no weight"),
    "training.sample_max_new_tokens": (F, "an answer changes no weight"),
    "training.eval_accumulation_steps": (F, "an evaluation changes no weight"),
    "training.early_stopping_patience": (F, "decides when the run ends"),
    "training.early_stopping_threshold": (F, "decides when the run ends"),
    "training.save_steps": (F, "decides what is kept"),
    "training.save_total_limit": (F, "decides what is kept"),
    "training.load_best_model_at_end": (F, "decides which checkpoint is delivered"),
    "training.gradient_checkpointing": (C, "activations are computed twice, which may round otherwise"),
    "training.dtype": (C, "the weights continue in the new type"),
    "training.bf16": (C, "the weights stay, the computation rounds otherwise"),
    "training.fp16": (C, "the weights stay, the computation rounds otherwise"),
    "training.dataloader_num_workers": (F, "the rows and their order stay"),
    "training.dataloader_prefetch_factor": (F, "the rows and their order stay"),
    "training.seed": (N, "the order of the rows follows from it"),
    "method.type": (N, _OBJECTIVE),
    "method.max_length": (C, "a row may be cut at another place, or left out"),
    "method.assistant_only_loss": (N, _OBJECTIVE),
    "method.packing": (N, _ROWS),
    "method.label_smoothing_factor": (C, "the eval loss stays the plain loss"),
    "method.beta": (N, _OBJECTIVE),
    "method.loss_type": (N, _OBJECTIVE),
    "method.label_smoothing": (N, _OBJECTIVE),
    "method.desirable_weight": (N, _OBJECTIVE),
    "method.undesirable_weight": (N, _OBJECTIVE),
    "method.center_rewards_coefficient": (N, _OBJECTIVE),
    "method.rewards": (N, _OBJECTIVE),
    "method.max_completion_length": (C, "answers may be longer or shorter"),
    "method.num_generations": (N, _OBJECTIVE),
    "method.num_iterations": (N, _OBJECTIVE),
    "method.temperature": (N, _OBJECTIVE),
    "method.top_p": (N, _OBJECTIVE),
    "method.top_k": (N, _OBJECTIVE),
    "method.epsilon": (N, _OBJECTIVE),
    "method.scale_rewards": (N, _OBJECTIVE),
}
"""What a change of each setting does to a run that resumes from a checkpoint, and why."""

AT_SUBMISSION = frozenset({"name", "after"})
"""Settings that never change."""

WITHOUT_EFFECT = frozenset(name for name, (effect, _) in SETTING_CHANGES.items() if effect is Effect.FREE)
"""Settings that change no weight."""


def refused_changes(config: JobConfig, changes: Iterable[Change], *, has_checkpoint: bool) -> list[tuple[Change, str]]:
    """The changes that a job with this config cannot take when it resumes, each with the reason."""
    if not has_checkpoint:
        return [(change, SETTING_CHANGES[change.field][1]) for change in changes if change.field in AT_SUBMISSION]
    rules = [(change, *_rule(config, change.field)) for change in changes]
    return [(change, reason) for change, effect, reason in rules if effect is Effect.NEW_JOB]


def changed_config(
    config: JobConfig, document: Mapping[str, Any], changes: Sequence[Change], *, has_checkpoint: bool
) -> JobConfig | None:
    """The config of a job with the changes; `document` is the one that `config` was resolved from.

    `None` where they change nothing, where the new config would be refused, and where the job cannot take them.
    """
    try:
        after = parse_job_config(adjusted(document, {change.field: change.to for change in changes}))
    except InvalidRequestError:
        return None
    found = changes_between(config, after)
    return None if not found or refused_changes(config, found, has_checkpoint=has_checkpoint) else after


def _rule(config: JobConfig, field: str) -> tuple[Effect, str]:
    if field == "method.max_length" and config.method.packing:
        return Effect.NEW_JOB, f"{_ROWS}, which are packed to this length"
    return SETTING_CHANGES["method.type" if field == "method" else field]

"""Comparison of a job's record, which is its config, with the actual settings of its trainer."""

from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils.other import ModulesToSaveWrapper
from torch.distributed.tensor import DTensor
from transformers.integrations.neftune import neftune_post_forward_hook
from transformers.pytorch_utils import Conv1D

from ftlab.schemas import JobConfig, NoticePayload
from train.loop.label_smoothing import smoothing_in_force
from train.model.reward_head import HEAD
from train.model.targets import adapted, matches

RECORD_DIFFERS = "record_differs"
"""Code of the notice about differences."""
_OPTIMIZERS = {"AdamW": "adamw_torch", "Adafactor": "adafactor", "SGD": "sgd"}
"""Names of optimizer classes in the settings."""
_OF_ARGUMENTS = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "lr_scheduler_type",
    "max_grad_norm",
    "logging_steps",
    "eval_accumulation_steps",
    "save_steps",
    "bf16",
    "fp16",
    "dataloader_prefetch_factor",
    "seed",
)
"""Fields of `training` that are read from the arguments of transformers' trainer."""
_OF_ADAM = ("adam_beta1", "adam_beta2", "adam_epsilon")
_OF_METHOD = (
    "max_length",
    "packing",
    "beta",
    "loss_type",
    "label_smoothing",
    "label_smoothing_factor",
    "max_completion_length",
    "num_generations",
    "num_iterations",
    "temperature",
    "top_p",
    "top_k",
    "epsilon",
    "scale_rewards",
    "desirable_weight",
    "undesirable_weight",
    "center_rewards_coefficient",
)
"""Fields of `method` that are read from the arguments of TRL's trainer, except `packing` and the smoothing
factor."""
_OF_ROWS = {("grpo", "max_length")}
"""Methods and fields that decide which rows are prepared, and that no trainer has."""


def notice_of_differences(config: JobConfig, lr_steps: int, parts: Mapping[str, Any]) -> NoticePayload | None:
    """A notice that names every setting of `config` that is not in force; `None` where all are.

    `lr_steps` is the length of the learning rate schedule. `parts` are what transformers hands to a callback at the
    beginning of a step: `args`, `model`, `optimizer`, `lr_scheduler` and `train_dataloader`.
    """
    in_force = _in_force(config, **parts)
    found = [
        f"{name} is {in_force.get(name)!r} instead of {value!r}"
        for name, value in _recorded(config, lr_steps).items()
        if in_force.get(name) != value
    ]
    if not found:
        return None
    message = (
        f"The run does not follow its config: {'; '.join(found)}. Please report this bug in FineTune Lab, and judge "
        "the model by the values that were used."
    )
    return NoticePayload(code=RECORD_DIFFERS, message=message)


def _recorded(config: JobConfig, lr_steps: int) -> dict[str, Any]:
    training = config.training
    values: dict[str, Any] = {f"training.{name}": getattr(training, name) for name in _OF_ARGUMENTS}
    values |= {
        "training.learning_rate": config.learning_rate,
        _warmup(config): training.num_warmup_steps(lr_steps),
        "training.weight_decay": training.weight_decay,
        "training.optim": training.optim,
        "training.neftune_noise_alpha": training.neftune_noise_alpha,
        "training.dataloader_num_workers": training.dataloader_num_workers,
        "training.max_steps": training.max_steps,
        "training.gradient_checkpointing": training.gradient_checkpointing,
        **{f"method.{name}": value for name, value in config.method if _is_of_trainer(config, name)},
        "resources.num_workers": config.resources.num_workers,
        "resources.sharding": config.resources.sharding,
        "tuning": config.tuning,
        "load_in_4bit": config.load_in_4bit,
        "load_in_8bit": config.load_in_8bit,
    }
    if training.uses_adam:
        values |= {f"training.{name}": getattr(training, name) for name in _OF_ADAM}
    if training.dtype != "auto" and config.quantised_by is None:
        values["training.dtype"] = training.dtype
    if config.tuning == "lora":
        values |= {f"lora.{name}": value for name, value in config.lora}
    return values


def _is_of_trainer(config: JobConfig, name: str) -> bool:
    return name in _OF_METHOD and (config.method.type, name) not in _OF_ROWS


def _in_force(
    config: JobConfig, *, args: Any, model: Any, optimizer: Any, lr_scheduler: Any, train_dataloader: Any
) -> dict[str, Any]:
    core = getattr(model, "module", model)  # below DDP
    values: dict[str, Any] = {f"training.{name}": getattr(args, name) for name in _OF_ARGUMENTS}
    values |= {
        "training.learning_rate": _same(getattr(lr_scheduler, "scheduler", lr_scheduler).base_lrs),
        _warmup(config): args.warmup_steps,
        "training.neftune_noise_alpha": _noise(core),
        "training.weight_decay": max(group["weight_decay"] for group in optimizer.param_groups),
        **_of_adam(optimizer.param_groups),
        "training.optim": _optimizer_name(getattr(optimizer, "optimizer", optimizer)),
        "training.max_steps": args.max_steps if args.max_steps > 0 else None,
        "training.gradient_checkpointing": core.is_activation_checkpointing,
        "training.dtype": _dtype(core),
        **{f"method.{name}": _first(getattr(args, name)) for name in _OF_METHOD if hasattr(args, name)},
        "method.label_smoothing_factor": smoothing_in_force(core),
        "training.dataloader_num_workers": train_dataloader.num_workers,
        "method.packing": "seq_lengths" in train_dataloader.dataset.column_names,
        "resources.num_workers": args.world_size,
        "resources.sharding": "fsdp" if all(isinstance(weight, DTensor) for weight in core.parameters()) else "none",
        "tuning": _tuning(core, optimizer),
        "load_in_4bit": bool(getattr(core, "is_loaded_in_4bit", False)),
        "load_in_8bit": bool(getattr(core, "is_loaded_in_8bit", False)),
    }
    if isinstance(core, PeftModel):
        adapter = core.peft_config[core.active_adapter]
        values |= {f"lora.{name}": getattr(adapter, name) for name in type(config.lora).model_fields}
        values["lora.target_modules"] = _targets(core, config.lora.target_modules)
        head = [HEAD] if config.method.scores_texts else []
        values["lora.modules_to_save"] = _saved(core, config.lora.modules_to_save, head)
    return values


def _warmup(config: JobConfig) -> str:
    """The setting that the steps of the warm-up come from."""
    return "training.warmup_ratio (in steps)" if config.training.warmup_ratio else "training.warmup_steps"


def _noise(model: Any) -> float | None:
    """The strength of the noise that a hook adds to the output of the embedding."""
    embedding = model.get_input_embeddings()
    is_hooked = neftune_post_forward_hook in embedding._forward_hooks.values()
    return embedding.neftune_noise_alpha if is_hooked else None


def _of_adam(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The settings of AdamW in its parameter groups; none for another optimizer."""
    if "betas" not in groups[0]:
        return {}
    columns = zip(*((*group["betas"], group["eps"]) for group in groups), strict=True)
    return {f"training.{name}": _same(list(values)) for name, values in zip(_OF_ADAM, columns, strict=True)}


def _first(value: Any) -> Any:
    """The only element of a list, which TRL makes of a single value; any other value as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _same(values: list[Any]) -> Any:
    """The value that all have, or every one of them."""
    numbers = {float(value) for value in values}
    return numbers.pop() if len(numbers) == 1 else sorted(numbers)


def _optimizer_name(optimizer: Any) -> str:
    kind = type(optimizer).__name__
    if type(optimizer).__module__.startswith("bitsandbytes."):
        bits = f"_{optimizer.args.optim_bits}bit"
        return ("paged_" if optimizer.is_paged else "") + kind.lower() + bits
    return _OPTIMIZERS.get(kind, kind) + ("_fused" if optimizer.defaults.get("fused") else "")


def _tuning(model: Any, optimizer: Any) -> str:
    """The weights that the optimizer updates: every weight of the adapter, or every weight of the model."""
    updated = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    trained = {name for name, weight in model.named_parameters() if id(weight) in updated}
    wanted = {name for name, _ in model.named_parameters() if not isinstance(model, PeftModel) or _is_trained(name)}
    if trained == wanted and len(trained) == len(updated):
        return "lora" if isinstance(model, PeftModel) else "full"
    return f"{len(trained & wanted)} of {len(wanted)} weights and {len(updated) - len(trained & wanted)} others"


def _is_trained(name: str) -> bool:
    """Whether a weight of a model with an adapter is one of those that are trained."""
    return ".lora_" in name or ".modules_to_save." in name


def _dtype(model: Any) -> str:
    """The data types of the base weights, for example `float32`."""
    base = (weight for name, weight in model.named_parameters() if not _is_trained(name))
    return " and ".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in base}))


def _targets(model: PeftModel, recorded: str | list[str]) -> str | list[str]:
    """The recorded targets if exactly those modules have an adapter that they mean; else the modules that have one."""
    every = dict(model.get_base_model().named_modules())
    saved = tuple(f"{name}." for name, module in every.items() if isinstance(module, ModulesToSaveWrapper))
    modules = {n: module for n, module in every.items() if ".base_layer" not in n and not n.startswith(saved)}
    linear = (torch.nn.Linear, Conv1D, LoraLayer)
    with_adapter = {name for name, module in modules.items() if isinstance(module, LoraLayer)}
    meant = adapted(recorded, {name: isinstance(module, linear) for name, module in modules.items()})
    # The parts of an adapter are modules too.
    meant = {name for name in meant if not any(name.startswith(f"{outer}.") for outer in with_adapter)}
    return recorded if meant == with_adapter else sorted(with_adapter)


def _saved(model: PeftModel, recorded: list[str] | None, head: list[str]) -> list[str] | None:
    """The recorded modules if exactly those that they mean, and `head`, are trained as a whole; else all that are."""
    modules = dict(model.get_base_model().named_modules())
    saved = {name for name, module in modules.items() if isinstance(module, ModulesToSaveWrapper)}
    meant = {name for name in modules if any(matches(target, name) for target in [*(recorded or ()), *head])}
    return recorded if meant == saved else sorted(saved)

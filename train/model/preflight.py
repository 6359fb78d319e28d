"""Check whether a job's settings fit its base model and devices, from files alone: nothing is loaded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from ftlab.errors import InvalidRequestError
from ftlab.schemas import GrpoMethod, JobConfig
from ftlab.schemas.lora import LoraConfig
from ftlab.schemas.methods import TrainingMethod
from train.model.files import ADAPTER_CONFIG, ModelFacts
from train.model.layers import ModelLayers
from train.model.reward_head import PEFT_HEADS, TASK_TYPE, check_method, with_head
from train.model.targets import ALL_LINEAR, adapted, check_saved, check_targets

REQUANTISED = frozenset({("load_in_4bit", "bitsandbytes")})
"""Settings that can also be given for weights that were stored with this method."""

BASE_CHANGING_INITS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Beginnings of PEFT's `init_lora_weights` with which the base weights are changed too."""

MODULE_NAMES = ("target_modules", "modules_to_save")
"""Settings of `lora` that name modules."""


@dataclass(frozen=True)
class ModelUse:
    """The settings of a job that must fit the files of its base model."""

    tuning: str
    quantised_by: str | None
    """`load_in_4bit`, `load_in_8bit`, or nothing."""
    target_modules: str | tuple[str, ...]
    modules_to_save: tuple[str, ...]
    method: TrainingMethod
    unfit_for_experts: str | None = None
    """Setting of `lora` that PEFT does not support on experts which are one tensor, if the job has one."""

    @classmethod
    def of(cls, config: JobConfig) -> "ModelUse":
        targets = config.lora.target_modules
        return cls(
            config.tuning,
            config.quantised_by,
            targets if isinstance(targets, str) else tuple(targets),
            tuple(config.lora.modules_to_save or ()),
            config.method,
            _unfit_for_experts(config.lora),
        )


def check_use(use: ModelUse, facts: ModelFacts | None) -> None:
    """Raise `InvalidRequestError` (`invalid_config`) for settings that this model rules out."""
    if facts is None:
        return
    check_method(use.method, facts)
    layers = facts.layers
    if layers is None:
        return
    if layers.quantisation is not None:
        _check_quantised(use, layers.quantisation)
    if use.tuning == "lora" and layers.has_fused_experts and use.target_modules == ALL_LINEAR and use.unfit_for_experts:
        raise InvalidRequestError(
            f"lora.{use.unfit_for_experts} cannot be used on the experts of this model, which lora.target_modules "
            f"'{ALL_LINEAR}' includes. Leave it out, or name other layers in lora.target_modules, such as q_proj and "
            "v_proj.",
            "invalid_config",
            f"lora.{use.unfit_for_experts}",
        )
    # Experts are stored under other names than they have once loaded, so the run itself checks the names.
    if use.tuning == "lora" and not layers.has_fused_experts:
        scores_texts = use.method.scores_texts
        modules = with_head(layers.modules) if scores_texts else layers.modules
        is_tied = layers.is_tied and not scores_texts
        check_modules(use, modules, is_tied=is_tied, quantised_by=layers.quantisation)


def _unfit_for_experts(lora: LoraConfig) -> str | None:
    settings = {
        "lora_dropout": lora.lora_dropout > 0,
        "use_dora": lora.use_dora,
        "init_lora_weights": lora.is_cut_from_base,
    }
    return next((name for name, is_set in settings.items() if is_set), None)


def check_modules(
    use: ModelUse, modules: Mapping[str, bool], *, is_tied: bool, quantised_by: str | None = None
) -> None:
    """Raise `InvalidRequestError` (`invalid_config`) for names in `lora` that do not fit the modules of a model.

    `modules` are all of its modules, and whether LoRA can adapt each of them. `quantised_by` is the method that the
    weights were stored with.
    """
    check_targets(use.target_modules, modules, is_tied=is_tied)
    check_saved(
        use.modules_to_save,
        use.target_modules,
        modules,
        is_tied=is_tied,
        quantised_by=use.quantised_by or quantised_by,
    )


def check_devices(config: JobConfig, *, use_cuda: bool) -> None:
    """Raise `InvalidRequestError` (`invalid_config`) for data types and optimizers that the devices do not support."""
    training = config.training
    if use_cuda:
        return
    if training.dtype == "float16":
        raise InvalidRequestError(
            "training.dtype 'float16' needs a GPU; use 'bfloat16' or 'float32'.", "invalid_config", "training.dtype"
        )
    if training.fp16:
        raise InvalidRequestError(
            "training.fp16 needs a GPU; use training.bf16, or no mixed precision.", "invalid_config", "training.fp16"
        )
    if training.optim == "paged_adamw_8bit":
        raise InvalidRequestError(
            "training.optim 'paged_adamw_8bit' needs a GPU, whose memory it extends; use 'adamw_8bit'.",
            "invalid_config",
            "training.optim",
        )


class RowExtremes(Protocol):
    """Requirements of a dataset's prepared rows for a model."""

    @property
    def longest(self) -> int:
        """Tokens of the longest row, or of the longest document where rows are packed."""
        ...

    @property
    def max_token_id(self) -> int: ...


def check_rows(rows: RowExtremes, facts: ModelFacts, dataset: str) -> None:
    """Raise `InvalidRequestError` for rows that the model has no embedding for: of a token, or of a position."""
    layers = facts.layers
    if layers is None:
        return
    if layers.num_embeddings is not None and rows.max_token_id >= layers.num_embeddings:
        token = facts.tokens_beyond.get(rows.max_token_id)
        named = f"the token {token[:100]!r} (id {rows.max_token_id})" if token else f"a token of id {rows.max_token_id}"
        raise InvalidRequestError(
            f"Dataset {dataset} has a row with {named}, and the embedding of the model has {layers.num_embeddings} "
            f"rows (ids 0 to {layers.num_embeddings - 1}). Use the tokenizer that belongs to these weights, resize the "
            "model's embedding, or remove the token from the rows.",
            "model_invalid",
            "model",
        )
    if layers.has_learned_positions and layers.max_positions is not None and rows.longest > layers.max_positions:
        raise InvalidRequestError(
            f"Dataset {dataset} has a row of {rows.longest} tokens, and the model has {layers.max_positions} "
            f"positions. Set method.max_length to {layers.max_positions} or less.",
            "invalid_config",
            "method.max_length",
        )


def adapter_settings(folder: Path) -> LoraConfig | None:
    """The LoRA settings of the adapter in a folder; `None` where there is none.

    Raise `InvalidRequestError` (`model_invalid`) for an `adapter_config.json` that cannot be read.
    """
    try:
        found = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        raise _unreadable() from None
    if not isinstance(found, dict):
        raise _unreadable()
    return lora_settings(found)


def lora_settings(document: Mapping[str, Any]) -> LoraConfig:
    """The LoRA settings in an `adapter_config.json`.

    Raise `InvalidRequestError` (`model_invalid`) for settings that a job cannot have.
    """
    found = dict(document)
    if found.get("task_type") == TASK_TYPE:
        # PEFT adds the heads itself.
        found["modules_to_save"] = [
            name for name in found.get("modules_to_save") or () if name not in PEFT_HEADS
        ] or None
    values = {name: found[name] for name in LoraConfig.model_fields if found.get(name) is not None}
    # It says how the weights began; where the base was changed as well, they mean something on that base only.
    if str(values.pop("init_lora_weights", True)).startswith(BASE_CHANGING_INITS):
        raise InvalidRequestError(
            f"init_lora_weights in {ADAPTER_CONFIG} of the adapter is one that changes the base model. Save it "
            "with PEFT's path_initial_model_for_weight_conversion, or start from another model.",
            "model_invalid",
            "model",
        )
    targets = values.get("target_modules")
    if isinstance(targets, str) and targets not in (ALL_LINEAR, "auto"):
        raise InvalidRequestError(
            f"target_modules in {ADAPTER_CONFIG} of the adapter is a pattern, and jobs support lists of names only; "
            "replace it by the names of the modules that the adapter has.",
            "model_invalid",
            "model",
        )
    if isinstance(targets, list):
        # A list that no job can name comes from 'all-linear' alone.
        values["target_modules"] = sorted(map(str, targets)) if len(targets) <= 100 else ALL_LINEAR
    try:
        return LoraConfig.model_validate(values)
    except ValidationError:
        raise _unreadable() from None


def with_adapter_settings(config: JobConfig, adapter: LoraConfig, layers: ModelLayers | None = None) -> JobConfig:
    """A copy of the config with the settings of the adapter that the job continues to train.

    Raise `InvalidRequestError` (`invalid_config`) where `lora.*` was set to another value. `layers` are those of the
    base model, by which the layers that `target_modules` names are compared.
    """
    if config.tuning != "lora":
        return config
    for name in LoraConfig.model_fields:
        if "lora" not in config.model_fields_set or name not in config.lora.model_fields_set:
            continue
        wanted, own = getattr(config.lora, name), getattr(adapter, name)
        is_same = wanted == own or (name in MODULE_NAMES and _same_layers(wanted, own, layers))
        if not is_same:
            raise InvalidRequestError(
                f"lora.{name} is {_shown(wanted)}, and the adapter that the job continues has {_shown(own)}. Leave it "
                "out to continue this adapter, or start from a full model for another one.",
                "invalid_config",
                f"lora.{name}",
            )
    continued = config.model_copy(update={"lora": adapter})
    # The rules between settings hold for those of the adapter as well.
    JobConfig(**continued.model_dump())
    return continued


def check_divergence_of_adapter(config: JobConfig) -> None:
    """Raise `InvalidRequestError` for a KL divergence in a job that trains an existing adapter further."""
    if isinstance(config.method, GrpoMethod) and config.method.beta:
        raise InvalidRequestError(
            "method.beta above 0 cannot be combined with an adapter that is trained further: the adapter before "
            "training would have to be kept as a second one. Set method.beta to 0, or start from a full model.",
            "invalid_config",
            "method.beta",
        )


def check_sharding_of_adapter(config: JobConfig) -> None:
    """Raise `InvalidRequestError` for divided weights in a job that compares with an existing adapter it trains."""
    resources = config.resources
    if resources.sharding == "fsdp" and resources.num_workers > 1 and config.method.compares_with_base:
        raise InvalidRequestError(
            f"resources.sharding 'fsdp' and method '{config.method.type}' cannot be combined with an adapter that is "
            "trained further: its reference is computed with the whole model. Set resources.sharding to 'none', or "
            "start from a full model.",
            "invalid_config",
            "resources.sharding",
        )


def unused_settings(config: JobConfig) -> list[str]:
    """Sentences about settings that were set but have no effect together with the others."""
    training = config.training
    unused = []
    if config.tuning == "full" and "lora" in config.model_fields_set and config.lora.model_fields_set:
        unused.append("lora is not used, because tuning is 'full'.")
    if not config.method.uses_dropout and config.tuning == "lora" and config.lora.lora_dropout:
        unused.append(
            f"lora.lora_dropout ({config.lora.lora_dropout:g}) is not used, because method '{config.method.type}' "
            "trains without dropout."
        )
    method = config.method
    if isinstance(method, GrpoMethod) and method.num_iterations == 1 and "epsilon" in method.model_fields_set:
        unused.append(
            f"method.epsilon ({method.epsilon:g}) is not used, because method.num_iterations is 1: answers are trained "
            "once, by the model that generated them, and no probability has moved."
        )
    if training.eval_accumulation_steps is not None:
        unused.append(
            f"training.eval_accumulation_steps ({training.eval_accumulation_steps}) is not used, because an evaluation "
            "keeps only sums."
        )
    if config.resources.sharding == "fsdp" and config.resources.num_workers == 1:
        unused.append("resources.sharding ('fsdp') is not used, because there is one worker.")
    unused += [
        f"training.{name} ({getattr(training, name):g}) is not used, because the schedule 'constant' has no warm-up; "
        "'constant_with_warmup' has one."
        for name in ("warmup_steps", "warmup_ratio")
        if getattr(training, name) and training.lr_scheduler_type == "constant"
    ]
    unused += [
        f"training.{name} ({getattr(training, name):g}) is not used, because the optimizer is '{training.optim}'."
        for name in ("adam_beta1", "adam_beta2", "adam_epsilon")
        if name in training.model_fields_set and not training.uses_adam
    ]
    if training.eval_steps is not None and not config.has_evaluation and training.sample_prompts is None:
        unused.append(
            f"training.eval_steps ({training.eval_steps}) is not used, because there is no eval_dataset or eval_split."
        )
    if "sample_max_new_tokens" in training.model_fields_set and training.sample_prompts is None:
        unused.append(
            f"training.sample_max_new_tokens ({training.sample_max_new_tokens}) is not used, because there are no "
            "training.sample_prompts."
        )
    return unused


def _same_layers(wanted: str | list[str] | None, own: str | list[str] | None, layers: ModelLayers | None) -> bool:
    if isinstance(wanted, list) and isinstance(own, list) and set(wanted) == set(own):
        return True
    if layers is None or wanted is None or own is None:
        return False
    return adapted(wanted, layers.modules) == adapted(own, layers.modules)


def _check_quantised(use: ModelUse, method: str) -> None:
    if use.tuning == "full":
        raise InvalidRequestError(
            f"tuning 'full' cannot train weights that are quantised ({method}). Use the unquantised model, or tuning "
            "'lora'.",
            "invalid_config",
            "tuning",
        )
    if use.quantised_by is not None and (use.quantised_by, method) not in REQUANTISED:
        raise InvalidRequestError(
            f"{use.quantised_by} cannot be used with weights that are quantised already ({method}). Use the "
            f"unquantised model, or leave {use.quantised_by} out.",
            "invalid_config",
            use.quantised_by,
        )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _unreadable() -> InvalidRequestError:
    return InvalidRequestError(
        f"{ADAPTER_CONFIG} of the adapter cannot be read; start from another model.", "model_invalid", "model"
    )

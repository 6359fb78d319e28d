"""Fit the settings of a job to the tuned model that it starts from: an adapter, or a whole model."""

from pathlib import Path

from ftlab.errors import FineTuneLabError
from ftlab.schemas import JobConfig, NoticePayload
from ftlab.schemas.lora import LoraConfig
from train.model.base_model import base_of_adapter, local_folder
from train.model.files import ModelFacts
from train.model.folder import facts_of
from train.model.preflight import (
    ModelUse,
    adapter_settings,
    check_divergence_of_adapter,
    check_sharding_of_adapter,
    check_use,
    unused_settings,
    with_adapter_settings,
)
from train.model.reward_head import check_files, check_method
from train.plan import LocalBase

_LOST_UPDATES = {"bfloat16": "0.4 %", "float16": "0.05 %"}
"""Share of a weight below which an update may leave it as it is: half the distance between two numbers of the type."""


def fit_to_folder(
    config: JobConfig, name: str, folder: Path, local_base: LocalBase | None, models_folder: Path
) -> tuple[JobConfig, tuple[NoticePayload, ...]]:
    """The config of a job that starts from the tuned model in a folder, and its notices; `name` is its reference.

    Raise `InvalidRequestError` (`invalid_config`) for settings that this model rules out.
    """
    check_files(config.method, folder)
    adapter = adapter_settings(folder)
    if adapter is None:
        check_use(ModelUse.of(config), facts_of(folder))
        return config, setting_notices(config)
    base = base_facts(folder, local_base, models_folder)
    if base is not None:
        check_method(config.method, base)
    return continue_adapter(config, name, adapter, base)


def continue_adapter(
    config: JobConfig, name: str, adapter: LoraConfig, base: ModelFacts | None
) -> tuple[JobConfig, tuple[NoticePayload, ...]]:
    """The config of a job that starts from an adapter, and its notices."""
    if config.tuning == "full":
        message = (
            f"{name} is an adapter (r {adapter.r}): it is merged into its base model, and all weights are trained."
        )
        return config, (*setting_notices(config), NoticePayload(code="adapter_merged", message=message))
    check_divergence_of_adapter(config)
    check_sharding_of_adapter(config)
    config = with_adapter_settings(config, adapter, base.layers if base else None)
    return config, setting_notices(config)  # those of the adapter too


def setting_notices(config: JobConfig) -> tuple[NoticePayload, ...]:
    """Notices about settings that have no effect, and about one that loses a part of the training."""
    notices = [NoticePayload(code="setting_unused", message=sentence) for sentence in unused_settings(config)]
    if config.tuning == "full" and (lost := _LOST_UPDATES.get(config.training.dtype)):
        message = (
            f"With tuning 'full' and training.dtype '{config.training.dtype}', an update that is smaller than about "
            f"{lost} of its weight is lost in rounding. With training.dtype 'auto', the weights are trained in float32."
        )
        notices.append(NoticePayload(code="updates_rounded", message=message))
    return tuple(notices)


def base_facts(folder: Path, local_base: LocalBase | None, models_folder: Path) -> ModelFacts | None:
    """Facts of an adapter's base model; `None` where that is not in a folder of this machine, or does not say."""
    try:
        return facts_of(base_folder(folder, local_base, models_folder))
    except (OSError, FineTuneLabError):
        return None


def base_folder(folder: Path, local_base: LocalBase | None, models_folder: Path) -> Path:
    """Where the base model of an adapter is, if it is on this machine; `folder` itself without an adapter."""
    if local_base is not None:
        return local_base.folder
    name = base_of_adapter(folder)
    if name is None:
        return folder
    return Path(name) if name.startswith("/") else local_folder(name, models_folder)

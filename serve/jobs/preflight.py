"""Check before submission whether a job's settings fit its base model; fill in those of an adapter it continues."""

from dataclasses import dataclass
from pathlib import Path

from cluster.runs.run_limits import is_priced
from ftlab.errors import FineTuneLabError, InvalidRequestError
from ftlab.schemas import BaseJobConfig, GrpoMethod, JobConfig, NoticePayload
from ftlab.schemas.lora import LoraConfig
from serve.context import Services
from serve.models.base_model import Checked, Tuned, find_tuned
from train.model.base_model import base_of_adapter
from train.model.files import ModelFacts
from train.model.folder import facts_of
from train.model.preflight import (
    ModelUse,
    adapter_settings,
    check_devices,
    check_divergence_of_adapter,
    check_sharding_of_adapter,
    check_use,
    unused_settings,
    with_adapter_settings,
)
from train.model.reward_head import check_files, check_method
from train.rewards import checked_rewards


@dataclass(frozen=True)
class Start:
    """What a job starts from: its base model, and the config that is true for it."""

    model: Checked
    config: JobConfig
    notices: tuple[NoticePayload, ...] = ()
    tuned: Tuned | None = None
    """Set for a model of this service."""


def preflight(services: Services, owner: str, config: JobConfig, model: Checked) -> Start:
    """Check all that the files on this machine say. Blocks on the store where the model is one of this service.

    Raise `InvalidRequestError` (`invalid_config`) for settings that cannot work, `max_cost_without_price`,
    `model_invalid` for damaged files, and `NotFoundError` (`model_not_found`) for a model of this service that does not
    exist.
    """
    config = config.model_copy(update={"model": str(model.ref)})
    notices = _unused(config)
    check_max_cost(services, config)
    if isinstance(config.method, GrpoMethod):
        method = checked_rewards(config.method, services.settings.reward_files)
        config = config.model_copy(update={"method": method})
    if config.resources.gpus_per_worker == 0:
        check_devices(config, use_cuda=False)
    if model.adapter is not None:
        config, found = _continued(config, str(model.ref), model.adapter.settings, model.facts)
        check_use(ModelUse.of(config), model.facts)
        return Start(model, config, found)
    if model.ref.kind in ("hub", "path"):
        check_use(ModelUse.of(config), model.facts)
        return Start(model, config, tuple(notices))
    with services.store.read() as tx:
        tuned = find_tuned(model.ref, tx, services.settings, owner)
    assert tuned is not None
    config = config.model_copy(update={"model": str(tuned.ref)})
    check_files(config.method, tuned.folder)
    adapter = adapter_settings(tuned.folder)
    if adapter is not None:
        base = base_facts(tuned, services.settings.home / "models")
        if base is not None:
            check_method(config.method, base)
        return Start(model, *_continued(config, str(tuned.ref), adapter, base), tuned)
    check_use(ModelUse.of(config), facts_of(tuned.folder))
    return Start(model, config, tuple(notices), tuned)


def check_max_cost(services: Services, config: BaseJobConfig) -> None:
    """Refuse a `max_cost` that would never be used up."""
    if config.max_cost is None:
        return
    if not is_priced(services.settings, config.resources, services.coordinator.machines()):
        raise InvalidRequestError(
            "max_cost needs a price for the devices of the job, or it would never be used up; set 'prices' in the "
            "settings of the service, or use time_limit_s.",
            "max_cost_without_price",
            "max_cost",
        )


def _continued(
    config: JobConfig, name: str, adapter: LoraConfig, base: ModelFacts | None
) -> tuple[JobConfig, tuple[NoticePayload, ...]]:
    """The config of a job that starts from an adapter, and its notices."""
    if config.tuning == "full":
        message = (
            f"{name} is an adapter (r {adapter.r}): it is merged into its base model, and all weights are trained."
        )
        return config, (*_unused(config), NoticePayload(code="adapter_merged", message=message))
    check_divergence_of_adapter(config)
    check_sharding_of_adapter(config)
    config = with_adapter_settings(config, adapter, base.layers if base else None)
    return config, tuple(_unused(config))  # those of the adapter too


def _unused(config: JobConfig) -> list[NoticePayload]:
    return [NoticePayload(code="setting_unused", message=sentence) for sentence in unused_settings(config)]


def model_facts(services: Services, model: Checked, tuned: Tuned | None) -> ModelFacts | None:
    """Facts of a model of this service, else of another one; those of an adapter are of its base model."""
    if tuned is None:
        return model.facts
    if (tuned.folder / "adapter_config.json").is_file():
        return base_facts(tuned, services.settings.home / "models")
    return facts_of(tuned.folder)


def base_facts(tuned: Tuned, models_folder: Path) -> ModelFacts | None:
    """Facts of an adapter's base model; `None` where that is not in a folder of this machine, or does not say."""
    try:
        if tuned.local_base is not None:
            return facts_of(tuned.local_base.folder)
        name = base_of_adapter(tuned.folder) or ""
        return facts_of(Path(name) if name.startswith("/") else models_folder / name.replace("/", "--"))
    except (OSError, FineTuneLabError):
        return None

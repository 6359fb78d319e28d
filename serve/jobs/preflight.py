"""Check before submission whether a job's settings fit its base model; fill in those of an adapter it continues."""

from dataclasses import dataclass

from cluster.runs.run_limits import is_priced
from ftlab.errors import InvalidRequestError
from ftlab.schemas import BaseJobConfig, GrpoMethod, JobConfig, NoticePayload
from serve.context import Services
from serve.models.base_model import Checked, Tuned, find_tuned
from train.model.preflight import ModelUse, check_devices, check_use
from train.model.tuned_start import continue_adapter, fit_to_folder, unused_notices
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
    check_max_cost(services, config)
    if isinstance(config.method, GrpoMethod):
        method = checked_rewards(config.method, services.settings.reward_files)
        config = config.model_copy(update={"method": method})
    if config.resources.gpus_per_worker == 0:
        check_devices(config, use_cuda=False)
    if model.adapter is not None:
        config, found = continue_adapter(config, str(model.ref), model.adapter.settings, model.facts)
        check_use(ModelUse.of(config), model.facts)
        return Start(model, config, found)
    if model.ref.kind in ("hub", "path"):
        check_use(ModelUse.of(config), model.facts)
        return Start(model, config, unused_notices(config))
    with services.store.read() as tx:
        tuned = find_tuned(model.ref, tx, services.settings, owner)
    assert tuned is not None
    config = config.model_copy(update={"model": str(tuned.ref)})
    models_folder = services.settings.home / "models"
    fitted = fit_to_folder(config, str(tuned.ref), tuned.folder, tuned.local_base, models_folder)
    return Start(model, *fitted, tuned)


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

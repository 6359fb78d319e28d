"""Check before submission whether a job's settings fit its base model; fill in those of an adapter it continues."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from cluster.runs.run_limits import is_priced
from ftlab.errors import InvalidRequestError
from ftlab.schemas import BaseJobConfig, GrpoMethod, JobConfig, NoticePayload
from ftlab.schemas.events import MODEL_EXPECTED
from ftlab.schemas.lora import LoraConfig
from serve.context import Services
from serve.jobs.submission.parents import Expected
from serve.models.base_model import Checked, Tuned, find_tuned, job_of_folder
from train.model.files import ADAPTER_CONFIG, ModelFacts
from train.model.folder import facts_of
from train.model.preflight import ModelUse, check_devices, check_use
from train.model.reward_head import check_method, no_language_model
from train.model.tuned_start import base_facts, continue_adapter, fit_to_folder, setting_notices
from train.rewards import checked_rewards


@dataclass(frozen=True)
class Start:
    """What a job starts from: its base model, and the config that is true for it."""

    model: Checked
    config: JobConfig
    notices: tuple[NoticePayload, ...] = ()
    tuned: Tuned | None = None
    """Set for a model of this service."""
    expected: Expected | None = None
    """Set for a model that does not exist yet; `model` is the one that its training goes back to."""

    @property
    def existing(self) -> str:
        """Reference of the model whose files say what the job starts from."""
        return self.config.model if self.expected is None else self.expected.root


def preflight(
    services: Services, owner: str, config: JobConfig, model: Checked, expected: Expected | None = None
) -> Start:
    """Check all that the files on this machine say. Blocks on the store where the model is one of this service.

    Where the job starts from a model that does not exist yet, `model` is the one that its training goes back to.
    Raise `InvalidRequestError` (`invalid_config`) for settings that cannot work, `max_cost_without_price`,
    `model_invalid` for damaged files, and `NotFoundError` (`model_not_found`) for a model of this service that does not
    exist.
    """
    config = config.model_copy(update={"model": expected.parent.model if expected else str(model.ref)})
    check_max_cost(services, config)
    if isinstance(config.method, GrpoMethod):
        method = checked_rewards(config.method, services.settings.reward_files)
        config = config.model_copy(update={"method": method})
    if config.resources.gpus_per_worker == 0:
        check_devices(config, use_cuda=False)
    if expected is not None:
        return _before_delivery(services, owner, config, model, expected)
    if model.adapter is not None:
        config, found = continue_adapter(config, str(model.ref), model.adapter.settings, model.facts)
        check_use(ModelUse.of(config), model.facts)
        return Start(model, config, found)
    if model.ref.kind in ("hub", "path"):
        check_use(ModelUse.of(config), model.facts)
        return Start(model, config, setting_notices(config))
    with services.store.read() as tx:
        tuned = find_tuned(model.ref, tx, services.settings, owner)
    assert tuned is not None
    config = config.model_copy(update={"model": str(tuned.ref)})
    models_folder = services.settings.home / "models"
    fitted = fit_to_folder(config, str(tuned.ref), tuned.folder, tuned.local_base, models_folder)
    return Start(model, *fitted, tuned)


def _before_delivery(services: Services, owner: str, config: JobConfig, model: Checked, expected: Expected) -> Start:
    """Check what is known of a model that does not exist yet: the model that its training goes back to, its adapter."""
    parent = expected.parent
    facts = model.facts
    if model.ref.kind in ("job", "model"):
        with services.store.read() as tx:
            tuned = find_tuned(model.ref, tx, services.settings, owner)
        assert tuned is not None
        facts = model_facts(services, model, tuned)
    if expected.scores_texts and not config.method.scores_texts:
        raise no_language_model(config.method, f"the model of job {parent.name!r}")
    if expected.adapter is None:
        check_use(ModelUse.of(config), facts)
        fitted = config, setting_notices(config)
    else:
        if facts is not None:
            check_method(config.method, facts)
        # As it is delivered, it says nothing of how it began.
        update = {"init_lora_weights": LoraConfig().init_lora_weights}
        fitted = continue_adapter(config, parent.model, expected.adapter.model_copy(update=update), facts)
    message = (
        f"The model of job {parent.name!r} ({parent.id}) does not exist yet. The settings were checked with the model "
        f"that it goes back to, {expected.root}; they are checked with its own files when that job has completed."
    )
    later = NoticePayload(code=MODEL_EXPECTED, message=message)
    return Start(replace(model, facts=facts), fitted[0], (later, *fitted[1]), expected=expected)


def model_facts(services: Services, model: Checked, tuned: Tuned | None) -> ModelFacts | None:
    """Facts of a model of this service, else of another one; those of an adapter are of its base model."""
    return model.facts if tuned is None else facts_of_tuned(tuned, services.settings.home / "models")


def facts_of_tuned(tuned: Tuned, models_folder: Path) -> ModelFacts | None:
    """Facts of a model of this service, or of the base model of an adapter; `None` where its files do not say."""
    if (tuned.folder / ADAPTER_CONFIG).is_file():
        return base_facts(tuned.folder, tuned.local_base, models_folder)
    return facts_of(tuned.folder)


class BaseColumns(TypedDict):
    """What the record of a job says about its base model."""

    base_job_id: str | None
    model_revision: str | None


def base_columns(services: Services, start: Start) -> BaseColumns:
    """The job whose files a job starts from, if any, and the commit of its base model."""
    tuned, model = start.tuned, start.model
    if start.expected is not None:
        return {"base_job_id": start.expected.parent.id, "model_revision": None}
    return {
        "base_job_id": tuned.job_id if tuned else job_of_folder(model.ref, services.settings),
        "model_revision": tuned.base_revision if tuned else model.revision,
    }


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

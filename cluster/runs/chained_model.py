"""What a job waits for, what the jobs before it have delivered, and the config with which it starts from that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cluster.policy import waiting_reasons
from cluster.runs.evaluated_models import evaluated_models
from cluster.runs.model_location import locate
from ftlab.errors import NotFoundError
from ftlab.model_ref import ModelRef
from ftlab.schemas import AnyJobConfig, EvaluationConfig, ExportConfig, JobConfig, SftMethod
from ftlab.schemas.lora import LoraConfig
from ftlab.settings import Settings
from ftlab.status import JobStatus
from tracking.store import Transaction
from tracking.store.chains import ParentState
from tracking.store.records import JobRecord
from train.model.files import ADAPTER_CONFIG, CONFIG
from train.model.reward_head import check_files
from train.model.tuned_start import fit_to_folder


@dataclass(frozen=True)
class Delivered:
    """What a job has delivered by now."""

    job_id: str
    job_name: str
    status: JobStatus
    attempt: int
    model_id: str | None = None
    """`None` for a job that delivers no model."""
    base_revision: str | None = None

    @property
    def in_words(self) -> str:
        model = f", model {self.model_id}" if self.model_id else ""
        return f"job {self.job_name!r} ({self.job_id}, attempt {self.attempt}{model})"


@dataclass(frozen=True)
class Fitted:
    """The config of a job whose models are known now, and the columns of its record that follow from them."""

    config: AnyJobConfig
    columns: Mapping[str, str | None] = field(default_factory=dict)
    notes: Sequence[str] = ()


def why_waiting(parents: Sequence[ParentState]) -> str | None:
    """What a job waits for: first of all a job that does not complete by itself. `None` once all have completed."""
    open_ones = [parent for parent in parents if parent.status is not JobStatus.COMPLETED]
    for parent in open_ones:
        if parent.status is None:
            return waiting_reasons.held_by_deleted_job(parent.id)
        if parent.status.is_terminal:
            reason = None if parent.status is JobStatus.CANCELLED else parent.reason
            return waiting_reasons.held_by_job(parent.name, parent.id, parent.status, reason)
    if not open_ones:
        return None
    first = open_ones[0]
    assert first.status is not None
    why = first.waiting_for if first.waiting_for and first.waiting_for.startswith(waiting_reasons.HELD) else None
    return waiting_reasons.waits_for_job(first.name, first.id, first.status, why, num_more=len(open_ones) - 1)


def delivered_by(tx: Transaction, job: JobRecord) -> Delivered:
    """What the job has delivered: the newest model, which a later run of the job does not change."""
    model = tx.models.of_job(job.id)
    found = Delivered(job.id, job.name, job.status, job.attempt)
    return found if model is None else replace(found, model_id=model.id, base_revision=model.base_revision)


def fit_to_delivered(tx: Transaction, settings: Settings, config: AnyJobConfig, found: Sequence[Delivered]) -> Fitted:
    """The config with the models in place of the jobs that it names, checked against their files.

    Raise `NotFoundError` for a model that does not exist, and `InvalidRequestError` for settings that it rules out.
    """
    by_reference = {str(ModelRef("job", each.job_id)): each for each in found}
    awaited = {field: by_reference[model] for field, model in config.named_models.items() if model in by_reference}
    for name, each in awaited.items():
        if each.model_id is None:
            raise NotFoundError(f"Job {each.job_id!r} has completed without a model.", "model_not_found", name)
    models = {job: str(ModelRef("model", each.model_id)) for job, each in by_reference.items() if each.model_id}
    config = config.with_models(models)
    if isinstance(config, JobConfig) and (start := awaited.get("model")) is not None:
        return _fit_training(tx, settings, config, start)
    for each in awaited.values():
        assert each.model_id is not None
        check_files(SftMethod(), Path(locate(tx, settings, ModelRef("model", each.model_id)).model))
    if isinstance(config, EvaluationConfig):
        evaluated_models(tx, settings, config.models)
    if isinstance(config, ExportConfig) and (source := awaited.get("model")) is not None:
        return Fitted(config, {"model_revision": source.base_revision})
    return Fitted(config)


def _fit_training(tx: Transaction, settings: Settings, config: JobConfig, start: Delivered) -> Fitted:
    assert start.model_id is not None
    location = locate(tx, settings, ModelRef("model", start.model_id))
    folder = Path(location.model)
    is_adapter = (folder / ADAPTER_CONFIG).is_file()
    if not is_adapter and not (folder / CONFIG).is_file():
        raise NotFoundError(f"The files of {config.model} are no longer on this machine.", "model_not_found", "model")
    expected = config.lora
    if is_adapter and config.tuning == "lora":
        # Its own settings, which were compared with those of the job before at the submission, give way.
        config = config.model_copy(update={"lora": LoraConfig()})
    fitted, _ = fit_to_folder(config, config.model, folder, location.local_base, settings.home / "models")
    columns = {"base_job_id": start.job_id, "model_revision": start.base_revision if is_adapter else None}
    return Fitted(fitted, columns, _changes(expected, fitted.lora))


def _changes(expected: LoraConfig, delivered: LoraConfig) -> list[str]:
    """Sentences about settings of the delivered adapter that the submission expected to be others."""
    names = ("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora")
    return [
        f"lora.{name} is {getattr(delivered, name)}, that of the delivered adapter; at the submission it was "
        f"{getattr(expected, name)}."
        for name in names
        if getattr(expected, name) != getattr(delivered, name)
    ]

"""The models of an evaluation: their base models first, then those that it names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.runs.model_location import locate
from ftlab.errors import NotFoundError
from ftlab.model_ref import ModelRef, parse_model_ref
from ftlab.settings import Settings
from tracking.store import Transaction
from tracking.store.records import JobRecord
from train.model.base_model import LOCAL_REVISION, base_of_adapter
from train.plan import MeasuredModel


@dataclass(frozen=True)
class _Found:
    """A model, and the model that it was trained from; `None` for one that is itself a base model."""

    model: MeasuredModel
    base: MeasuredModel | None = None


def evaluated_models(tx: Transaction, settings: Settings, models: Sequence[str]) -> tuple[MeasuredModel, ...]:
    """The models that an evaluation of these references measures, each only once.

    Raises `NotFoundError` for a model that the service does not have, and for a tuned model whose base model is gone.
    """
    found = [_find(tx, settings, parse_model_ref(model)) for model in models]
    bases: dict[tuple[str, ...], MeasuredModel] = {}
    for each in found:
        base = each.base or each.model
        bases.setdefault(_identity(base), base)
    tuned: dict[tuple[str, ...], _Found] = {}
    for each in found:
        if _identity(each.model) not in bases:
            tuned.setdefault(_identity(each.model), each)
    places = {identity: place for place, identity in enumerate(bases)}
    with_places = [replace(each.model, base=places[_identity(each.base)]) for each in tuned.values() if each.base]
    keys = [*_keys("base", len(bases)), *_keys("model", len(with_places))]
    measured = [*bases.values(), *with_places]
    return tuple(replace(model, key=key) for model, key in zip(measured, keys, strict=True))


def _keys(word: str, number: int) -> list[str]:
    return [word] if number == 1 else [f"{word}_{place}" for place in range(1, number + 1)]


def _identity(model: MeasuredModel) -> tuple[str, ...]:
    """The same for two names of the same model."""
    name, _, revision = model.model.partition("@")
    pinned = model.pinned_revision or ""
    is_commit = not pinned.startswith(LOCAL_REVISION) and not name.startswith("/")
    return name, revision or (pinned if is_commit else "")


def _find(tx: Transaction, settings: Settings, ref: ModelRef) -> _Found:
    location = locate(tx, settings, ref)
    job = _job_of(tx, ref) if ref.kind in ("job", "model") else None
    revision = job.model_revision if job else None
    model = MeasuredModel(str(ref), "", location.model, revision, location.local_base)
    named = base_of_adapter(Path(location.model)) if location.model.startswith("/") else None
    if named is not None:
        local = location.local_base
        if local is not None:
            return _Found(model, MeasuredModel(local.name, "", str(local.folder), None, local))
        return _Found(model, MeasuredModel(named, "", named, revision))
    return _Found(model, None if job is None else _start_of(tx, settings, ref, job))


def _start_of(tx: Transaction, settings: Settings, ref: ModelRef, job: JobRecord) -> MeasuredModel:
    """The model that a job started from which trained all of its weights."""
    config = job.training_config
    start = config.model if config is not None else str(job.submitted_config.get("model"))
    try:
        model = _find(tx, settings, parse_model_ref(start)).model
    except NotFoundError:
        raise NotFoundError(
            f"The model that {ref} was trained from is no longer in this service, and an evaluation measures it first.",
            "model_not_found",
            "models",
        ) from None
    return model if model.pinned_revision else replace(model, pinned_revision=job.model_revision)


def _job_of(tx: Transaction, ref: ModelRef) -> JobRecord:
    return tx.jobs.get(ref.id if ref.kind == "job" else tx.models.get(ref.id).job_id)

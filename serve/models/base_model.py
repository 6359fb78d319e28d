"""Check before a submission whether the base model of a job can be used."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.runs.model_location import base_of_users_adapter, locate
from ftlab.errors import ConflictError, FineTuneLabError, InvalidRequestError, NotFoundError
from ftlab.model_ref import ModelRef, parse_model_ref
from ftlab.settings import Settings
from serve.context import Services
from serve.http.responses import in_thread
from serve.models.huggingface_lookup import HubModel
from tracking.store import Transaction
from tracking.store.records import JobRecord, ModelRecord
from train.model.adapter_files import LOCAL_NAMES, AdapterFacts, adapter_facts, check_fits
from train.model.base_model import adapter_on_adapter, check_hub_adapter
from train.model.files import ADAPTER_CONFIG, CONFIG, ModelFacts
from train.model.folder import facts_of
from train.plan import LocalBase

UNCHECKED = (
    "The model hub is unreachable, so the base model is looked up when the job starts. If the name is wrong or the "
    "model is gated, the job fails then."
)


@dataclass(frozen=True)
class HubAnswer:
    """Answer of Hugging Face, asked before the store: nothing, a model, or a refusal."""

    is_asked: bool = False
    model: HubModel | None = None
    refusal: FineTuneLabError | None = None
    adapter: HubModel | None = None
    """The adapter that the reference names; `model` is its base model then."""

    @property
    def is_away(self) -> bool:
        return self.is_asked and self.model is None and self.refusal is None


NOT_ASKED = HubAnswer()


@dataclass(frozen=True)
class Checked:
    """A base model that a job may start from."""

    ref: ModelRef
    facts: ModelFacts | None
    """`None` while Hugging Face is unreachable, and for a model of this service."""
    revision: str | None = None
    """Commit that the job will use; only for a model on Hugging Face."""
    is_here: bool = True
    """Whether it is on this machine, so that nothing is downloaded."""
    adapter: AdapterFacts | None = None
    """Set for an adapter of a folder or the hub; `facts` and `revision` are those of its base model then."""
    base: str | None = None
    """Name of the adapter's base model."""


@dataclass(frozen=True)
class Tuned:
    """A model of this service that a job starts from."""

    ref: ModelRef
    """With the id, also where it was given by name."""
    name: str
    folder: Path
    job_id: str
    """The job that made it."""
    base_revision: str | None = None
    """Revision of the base model that an adapter was trained on."""
    local_base: LocalBase | None = None
    """Base model of an adapter that was trained on a model of this service, or on a folder of the model roots."""


async def ask_huggingface(services: Services, text: str) -> HubAnswer:
    """Ask Hugging Face about a reference that is not on this machine, and about the base model of an adapter.

    `check` raises a refusal.
    """
    adapter = None
    try:
        ref = parse_model_ref(text)
        if ref.kind in ("job", "model"):
            return NOT_ASKED
        if (folder := _folder(ref, services.settings)) is not None:
            # A thread of its own costs more than this look at the folder.
            own = await in_thread(adapter_facts, folder) if os.path.isfile(folder / ADAPTER_CONFIG) else None
            base = own.base if own else None
        else:
            found = await services.huggingface.find(ref.id, ref.revision)
            if found is None or isinstance(found.facts, ModelFacts):
                return HubAnswer(is_asked=True, model=found)
            adapter, base = found, found.facts.base
            check_hub_adapter(found.revision, base)
        base_ref = hub_ref(base, services.settings)
        if base_ref is None:
            return replace(NOT_ASKED, adapter=adapter)
        model = await _find_base(services, base_ref)
        return HubAnswer(is_asked=True, model=model, adapter=adapter)
    except FineTuneLabError as error:
        return HubAnswer(is_asked=True, refusal=error)


async def _find_base(services: Services, ref: ModelRef) -> HubModel | None:
    try:
        return await services.huggingface.find(ref.id, ref.revision)
    except FineTuneLabError as error:
        raise _of_base(error) from None


def hub_ref(base: str | None, settings: Settings) -> ModelRef | None:
    """The reference of an adapter's base model that has to be looked up on Hugging Face."""
    if base is None or base.startswith(LOCAL_NAMES):
        return None
    ref = parse_model_ref(base)
    return ref if _local_folder(ref, settings) is None else None


def check(text: str, settings: Settings, answer: HubAnswer) -> Checked:
    """Check a reference against the files and the answer of Hugging Face; former jobs are looked up in the store.

    Raise `NotFoundError` (`model_not_found`), `PermissionDeniedError` (`model_access_denied`,
    `remote_code_not_allowed`), or `InvalidRequestError`: `invalid_model_id`, also outside the allowed folders,
    `unsafe_weights`, `unsupported_model`, `model_invalid`. An adapter's base model is checked in the same way.
    """
    ref = parse_model_ref(text)
    if answer.refusal is not None:
        raise answer.refusal
    if ref.kind in ("job", "model"):
        return Checked(ref, None)
    if (folder := _folder(ref, settings)) is not None:
        adapter = adapter_facts(folder)
        return _check_adapter(ref, adapter, settings, answer) if adapter else Checked(ref, facts_of(folder))
    if answer.adapter is not None:
        assert isinstance(answer.adapter.facts, AdapterFacts)
        # The revision of the job is that of the base model, so that of the adapter is kept in the reference.
        pinned = replace(ref, revision=answer.adapter.revision)
        return replace(_check_adapter(pinned, answer.adapter.facts, settings, answer), is_here=False)
    if answer.model is None:
        return Checked(ref, None, is_here=False)
    assert isinstance(answer.model.facts, ModelFacts)
    return Checked(ref, answer.model.facts, answer.model.revision, is_here=False)


def _check_adapter(ref: ModelRef, adapter: AdapterFacts, settings: Settings, answer: HubAnswer) -> Checked:
    """Check an adapter together with its base model: in a folder, or as Hugging Face describes it."""
    local = base_of_users_adapter(settings, adapter.base)
    if hub_ref(adapter.base, settings) is None:
        try:
            folder = local.folder if local else _local_folder(parse_model_ref(adapter.base), settings)
            assert folder is not None
            if (folder / ADAPTER_CONFIG).is_file():
                raise adapter_on_adapter()
            facts = facts_of(folder)
        except FineTuneLabError as error:
            raise _of_base(error) from None
        check_fits(adapter, facts)
        return Checked(ref, facts, adapter=adapter, base=local.name if local else adapter.base)
    if answer.model is None:
        return Checked(ref, None, is_here=False, adapter=adapter, base=adapter.base)
    if not isinstance(answer.model.facts, ModelFacts):
        raise adapter_on_adapter()
    check_fits(adapter, answer.model.facts)
    return Checked(ref, answer.model.facts, answer.model.revision, is_here=False, adapter=adapter, base=adapter.base)


def find_tuned(ref: ModelRef, tx: Transaction, settings: Settings, owner: str) -> Tuned | None:
    """The model of a former job or a registered model, given by id or unique name; `None` for other references.

    Raise `NotFoundError` (`model_not_found`), or `ConflictError` (`ambiguous`) when several have this name.
    """
    if ref.kind not in ("job", "model"):
        return None
    found = _find_record(ref, tx, owner)
    ref = replace(ref, id=found.id)
    if isinstance(found, JobRecord):
        _require_checkpoint(ref, tx)
        job_id, revision = found.id, found.model_revision
    else:
        job_id, revision = found.job_id, found.base_revision
    # A few look-ups in a folder are fast enough to do inside the transaction.
    location = locate(tx, settings, ref)
    folder, base = Path(location.model), location.local_base
    if (folder / ADAPTER_CONFIG).is_file():
        if base is not None and not base.folder.is_dir():
            raise _not_found(f"The files of the adapter's base model, {base.name}, are no longer on this machine.")
        return Tuned(ref, found.name, folder, job_id, revision, base)
    if (folder / CONFIG).is_file():
        return Tuned(ref, found.name, folder, job_id)
    raise _not_found("The files of this model are no longer on this machine.")


def job_of_folder(ref: ModelRef, settings: Settings) -> str | None:
    """The job whose folder holds a model that is given by its path or found in the models folder, also over links."""
    folder = Path(ref.id) if ref.kind == "path" else _local_folder(ref, settings)
    if folder is None:
        return None
    jobs_folder = os.path.join(os.path.realpath(settings.home / "jobs"), "")
    inside = os.path.realpath(folder).removeprefix(jobs_folder)
    return None if os.path.isabs(inside) else inside.partition(os.sep)[0]


def short_name(ref: ModelRef) -> str:
    """The part of a reference that serves as a display name."""
    return ref.id.rstrip("/").rsplit("/", 1)[-1]


def _folder(ref: ModelRef, settings: Settings) -> Path | None:
    """The folder of a path, or of a hub model in the models folder; `None` for a model that is not on this machine."""
    return _inside_roots(Path(ref.id), settings) if ref.kind == "path" else _local_folder(ref, settings)


def _of_base(error: FineTuneLabError) -> FineTuneLabError:
    return type(error)(f"The adapter's base model: {error.message}", error.code, "model")


def _local_folder(ref: ModelRef, settings: Settings) -> Path | None:
    """The local folder of a model, if there is one; a reference with a revision always means Hugging Face."""
    if ref.revision is not None:
        return None
    folder = settings.home / f"models/{ref.id.replace('/', '--')}"
    return folder if os.path.isdir(folder) else None


def _find_record(ref: ModelRef, tx: Transaction, owner: str) -> JobRecord | ModelRecord:
    """The job or model that the reference names, by id or unique name."""
    try:
        if ref.kind == "job":
            return tx.jobs.resolve(ref.id, owner=owner, by_prefix=False)
        return tx.models.resolve(ref.id, owner=owner)
    except NotFoundError:
        raise _not_found(f"There is no {ref.kind} with this id or name.") from None
    except ConflictError as error:
        raise ConflictError(error.message, error.code, "model") from None


def _require_checkpoint(ref: ModelRef, tx: Transaction) -> None:
    """Raise `NotFoundError` where the job has nothing that another one can start from."""
    steps = {checkpoint.step for checkpoint in tx.checkpoints.of_job(ref.id)}
    if ref.step is not None and ref.step not in steps:
        known = f"it has steps {', '.join(map(str, sorted(steps)))}" if steps else "it has no checkpoint"
        raise _not_found(f"Job {ref.id!r} has no checkpoint of step {ref.step}; {known}.")
    if ref.step is None and not steps and tx.models.of_job(ref.id) is None:
        raise _not_found(f"Job {ref.id!r} has no checkpoint and no model yet.")


def _inside_roots(path: Path, settings: Settings) -> Path:
    """The folder at the path, with symbolic links resolved, if it is below an allowed folder."""
    try:
        folder = path.resolve()
    except (OSError, RuntimeError):
        raise _not_found("There is no folder at the model's path.") from None
    if not any(folder.is_relative_to(root.resolve()) for root in settings.allowed_model_roots):
        raise InvalidRequestError(
            "The model's path is outside the model folders; move the model there, or add its folder to the setting "
            "model_roots.",
            "invalid_model_id",
            "model",
        )
    return folder


def _not_found(message: str) -> NotFoundError:
    return NotFoundError(message, "model_not_found", "model")

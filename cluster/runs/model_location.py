"""Find the model that a reference names on this machine, and the base model of an adapter."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.model_ref import ModelRef, is_hub_id, parse_model_ref
from ftlab.settings import Settings
from tracking.store import Transaction
from tracking.store.records import ModelRecord
from train.checkpoints.checkpoint_files import step_name
from train.model.base_model import base_of_adapter
from train.model.files import ADAPTER_CONFIG
from train.plan import LocalBase

FOLDER_PREFIX = "folder:"
"""Prefix of the name of a base model in a folder of the setting `model_roots`; its path below that folder follows."""


@dataclass(frozen=True)
class ModelLocation:
    """Where a run finds its model; the fields have the meaning that they have in `train.plan.TrainingPlan`."""

    model: str
    local_base: LocalBase | None = None


def locate(tx: Transaction, settings: Settings, ref: ModelRef) -> ModelLocation:
    """The hub id, or the folder, that a reference names; for an adapter, its base model as well.

    Raises `NotFoundError` for a model, or a base model of an adapter, that the service does not have. Whether the files
    of the folder are there is up to the caller.
    """
    if ref.kind == "hub" and (folder := adapter_in_models_folder(settings, ref)) is None:
        return ModelLocation(str(ref))
    if ref.kind == "hub":
        ref = ModelRef("path", str(folder))
    base = _local_base(tx, settings, ref)
    adapter_base = base_of_adapter(base.folder)
    if adapter_base is None:
        return ModelLocation(str(base.folder), base)
    if ref.kind == "path":
        return ModelLocation(str(base.folder), base_of_users_adapter(settings, adapter_base))
    return ModelLocation(str(base.folder), _find_by_name(tx, settings, adapter_base))


def adapter_in_models_folder(settings: Settings, ref: ModelRef) -> Path | None:
    """The folder of an adapter that its owner put into the models folder under its hub id."""
    folder = settings.home / "models" / ref.id.replace("/", "--")
    return folder if ref.revision is None and (folder / ADAPTER_CONFIG).is_file() else None


def base_of_users_adapter(settings: Settings, name: str) -> LocalBase | None:
    """The base model of an adapter that was not trained by this service; `None` for one that is found by its hub id.

    `name` is that in its `adapter_config.json`. Raise `InvalidRequestError` for a folder outside the allowed ones
    (`invalid_model_id`) and for a job or model of a service (`model_invalid`), whose owner is not known here; and
    `NotFoundError` for a folder that does not exist.
    """
    if name.startswith(("job:", "model:")):
        raise InvalidRequestError(
            "The adapter's base model was trained by a FineTune Lab service. Start from that service's own adapter "
            "('job:ID' or 'model:ID'), or set base_model_name_or_path in adapter_config.json to the path of the base "
            "model.",
            "model_invalid",
            "model",
        )
    try:
        if name.startswith("/"):
            return _base_at_path(settings, Path(name).resolve())
        return _folder_below_roots(settings, name) if name.startswith(FOLDER_PREFIX) else None
    except (OSError, RuntimeError, ValueError):
        raise _no_base_folder() from None


def _base_at_path(settings: Settings, folder: Path) -> LocalBase:
    if not any(folder.is_relative_to(root.resolve()) for root in settings.allowed_model_roots):
        raise InvalidRequestError(
            "The adapter's base model is in a folder outside the model folders. Move it there, or add its folder to "
            "the setting model_roots; then correct base_model_name_or_path in adapter_config.json.",
            "invalid_model_id",
            "model",
        )
    if not folder.is_dir():
        raise _no_base_folder()
    return LocalBase(_name_of_folder(settings, folder), folder)


def _no_base_folder() -> NotFoundError:
    return NotFoundError(
        "The folder of the adapter's base model does not exist. Correct base_model_name_or_path in "
        "adapter_config.json.",
        "model_not_found",
        "model",
    )


def job_folder(settings: Settings, job_id: str) -> Path:
    return settings.home / "jobs" / job_id


def _local_base(tx: Transaction, settings: Settings, ref: ModelRef) -> LocalBase:
    if ref.kind == "path":
        return LocalBase(_name_of_folder(settings, Path(ref.id)), Path(ref.id))
    if ref.kind == "model":
        return _tuned(tx, settings, tx.models.get(ref.id))
    checkpoints = tx.checkpoints.of_job(ref.id)
    if ref.step is None and (model := tx.models.of_job(ref.id)) is not None:
        return _tuned(tx, settings, model)
    if ref.step is None and not checkpoints:
        return LocalBase(str(ref), job_folder(settings, ref.id) / "model")
    step = checkpoints[0].step if ref.step is None else ref.step
    name = step_name(step)
    return LocalBase(
        f"job:{ref.id}/step-{step}",
        job_folder(settings, ref.id) / "checkpoints" / name,
        f"ftlab download {ref.id} --checkpoint {name}",
    )


def _tuned(tx: Transaction, settings: Settings, model: ModelRecord) -> LocalBase:
    # The recorded path is from before any move of the data folder.
    folder = job_folder(settings, model.job_id) / model.path.name
    # A download gives the job's newest model.
    newest = tx.models.of_job(model.job_id)
    is_newest = newest is not None and newest.id == model.id
    return LocalBase(f"model:{model.id}", folder, f"ftlab download {model.job_id}" if is_newest else None)


def _name_of_folder(settings: Settings, folder: Path) -> str:
    """The name of a user's own base model: its hub id in the models folder, else its path below the allowed folder."""
    for root in settings.allowed_model_roots:
        for path, top in ((folder, root), (folder.resolve(), root.resolve())):
            if not path.is_relative_to(top):
                continue
            below = path.relative_to(top).as_posix()
            hub_id = below.replace("--", "/", 1)
            if root == settings.home / "models" and is_hub_id(hub_id) and hub_id.replace("/", "--") == below:
                return hub_id
            return f"{FOLDER_PREFIX}{below}"
    return f"{FOLDER_PREFIX}{folder.name}"


def _find_by_name(tx: Transaction, settings: Settings, name: str) -> LocalBase | None:
    """The base model that an adapter of this service names; `None` for one that is found by its hub id."""
    if name.startswith(FOLDER_PREFIX):
        return _folder_below_roots(settings, name)
    if not name.startswith(("job:", "model:")):
        return None
    try:
        return _local_base(tx, settings, parse_model_ref(name))
    except NotFoundError:
        raise NotFoundError(
            f"The adapter's base model, {name}, is no longer in this service. Start from another model.",
            "model_not_found",
            "model",
        ) from None


def _folder_below_roots(settings: Settings, name: str) -> LocalBase:
    """The base model with a name that begins with `FOLDER_PREFIX`."""
    below = PurePosixPath(name.removeprefix(FOLDER_PREFIX))
    folders = [root / below for root in settings.allowed_model_roots if (root / below).is_dir()]
    if not folders or ".." in below.parts or below.is_absolute():
        raise NotFoundError(
            f"The adapter's base model is the folder {str(below)!r}, which is outside the model folders. Move it "
            "back, or add the folder that holds it to the setting model_roots.",
            "model_not_found",
            "model",
        )
    return LocalBase(name, folders[0])

"""Whether the base model that a job asks for can be used at all, checked before the job is accepted."""

import os
from pathlib import Path

from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.model_ref import ModelRef
from ftlab.settings import Settings
from tracking.store import Transaction

PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


def check_local(ref: ModelRef, settings: Settings) -> None:
    """Check the folder of a path, or of a hub model that is on this machine already.

    A hub model that is not here is looked up when the job starts. Raise `NotFoundError` (`model_not_found`), or
    `InvalidRequestError`: `invalid_model_id` outside the allowed folders, `unsafe_weights` without safetensors.
    """
    if ref.kind == "path":
        _check_folder(_inside_roots(Path(ref.id), settings))
    elif ref.kind == "hub":
        folder = settings.home / "models" / ref.id.replace("/", "--")
        if os.path.isdir(folder):
            _check_folder(folder)


def check_record(ref: ModelRef, tx: Transaction, owner: str) -> str | None:
    """Check a former job or a registered model; return its name, `None` for other references."""
    if ref.kind == "model":
        return _tuned_model(ref, tx, owner)
    if ref.kind != "job":
        return None
    try:
        job = tx.jobs.get(ref.id, owner=owner)
    except NotFoundError:
        raise _not_found("The model names a job that does not exist.") from None
    steps = {checkpoint.step for checkpoint in tx.checkpoints.of_job(job.id)}
    if ref.step is not None and ref.step not in steps:
        raise _not_found(f"Job {job.id!r} has no checkpoint of that step.")
    if ref.step is None and not steps and tx.models.of_job(job.id) is None:
        raise _not_found(f"Job {job.id!r} has no checkpoint and no model yet.")
    return job.name


def short_name(ref: ModelRef) -> str:
    """The part of a reference that people call the model by."""
    return ref.id.rstrip("/").rsplit("/", 1)[-1]


def _tuned_model(ref: ModelRef, tx: Transaction, owner: str) -> str:
    try:
        return tx.models.get(ref.id, owner=owner).name
    except NotFoundError:
        raise _not_found("There is no registered model with this id.") from None


def _inside_roots(path: Path, settings: Settings) -> Path:
    """The folder that the path leads to, symbolic links followed, if it lies below an allowed folder."""
    try:
        folder = path.resolve()
    except (OSError, RuntimeError):
        raise _not_found("There is no folder at the model's path.") from None
    if not any(folder.is_relative_to(root.resolve()) for root in settings.allowed_model_roots):
        raise InvalidRequestError(
            "The model's path is outside the folders of models; see the setting model_roots.",
            "invalid_model_id",
            "model",
        )
    return folder


def _check_folder(folder: Path) -> None:
    # os.path, not pathlib: a name that is too long for the file system is a name that does not exist.
    if not os.path.isfile(folder / "config.json"):
        raise _not_found("The model's folder does not exist or holds no config.json.")
    if any(folder.glob("*.safetensors")):
        return
    if any(path for pattern in PICKLE_PATTERNS for path in folder.glob(pattern)):
        raise InvalidRequestError(
            "The model has pickle weights only, which can run code when read; convert them to safetensors.",
            "unsafe_weights",
            "model",
        )
    raise _not_found("The model's folder holds no *.safetensors file.")


def _not_found(message: str) -> NotFoundError:
    return NotFoundError(message, "model_not_found", "model")

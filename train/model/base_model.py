"""Base models: their folders and revisions. Light: nothing is loaded here."""

import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ftlab.errors import ConflictError, InvalidRequestError, NotFoundError, ServiceUnavailableError
from ftlab.model_ref import is_hub_id
from train.model.adapter_files import base_name
from train.model.download import fetch
from train.model.files import ADAPTER_CONFIG
from train.model.folder import facts_of, has_tokenizer
from train.plan import LocalBase

LOCAL_REVISION = "local-"
"""Prefix of a folder's revision; any other revision is a commit of the hub."""

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class BaseModel:
    """A base model on this machine."""

    name: str
    """Name for users: as in `LocalBase`, or the path of a folder that has no such name."""
    folder: Path
    revision: str
    adapter: Path | None = None
    """Folder of an adapter to continue training."""
    download: str | None = None
    """As in `LocalBase`."""

    @property
    def tokenizer_folder(self) -> Path:
        """The folder of the tokenizer: that of the adapter if it has one of its own, else that of the base model."""
        if self.adapter is not None and has_tokenizer(self.adapter):
            return self.adapter
        return self.folder


def find_model(
    model: str, models_folder: Path, *, pinned: str | None = None, local: LocalBase | None = None
) -> BaseModel:
    """Find the model's folder, fetching it from the hub where it is not on this machine.

    `pinned` is the revision that the submission or an earlier attempt found; of an adapter, it is that of its base. An
    adapter folder means its base model and the adapter. `local` is the base model, also that of an adapter, where its
    name does not lead to its folder. Raises what `fetch`, `base_of_adapter`, `check_hub_adapter` and
    `train.model.files.describe` raise, and `NotFoundError` for a folder that no longer exists.
    """
    if model.startswith("/"):
        folder = Path(model)
        if not folder.is_dir():
            gone = f"model {local.name}" if local else f"model folder {model}"
            raise NotFoundError(f"The files of the {gone} no longer exist.", "model_not_found", "model")
        if (named := base_of_adapter(folder)) is not None:
            base = find_model(str(local.folder) if local else named, models_folder, pinned=pinned, local=local)
            return _with_adapter(base, folder)
        if local is not None:
            return replace(_on_this_machine(local.name, folder), download=local.download)
        return _on_this_machine(model, folder)
    name, _, revision = model.partition("@")
    if is_in_models_folder(model, models_folder, pinned):
        return _on_this_machine(name, local_folder(name, models_folder))
    folder = fetch(name, hub_revision(model, pinned))
    if (named := base_of_adapter(folder)) is None:
        return BaseModel(name, folder, folder.name)
    check_hub_adapter(revision, named)
    return _with_adapter(find_model(named, models_folder, pinned=pinned), folder)


def check_revision(base: BaseModel, pinned: str | None) -> None:
    """Raise `ConflictError` (`model_changed`) for a base model that is not the one that the job began with."""
    if pinned not in (None, base.revision):
        raise ConflictError(
            f"The base model {base.name} changed since the job's first attempt (was {pinned}, is {base.revision}). Put "
            "the first revision back, or submit a new job.",
            "model_changed",
            "model",
        )


def hub_revision(model: str, pinned: str | None) -> str | None:
    """The revision to fetch of a hub model. A commit in the reference is that of an adapter whose base is `pinned`."""
    revision = model.partition("@")[2]
    return revision if COMMIT.fullmatch(revision) else pinned or revision or None


def check_hub_adapter(revision: str, base: str) -> None:
    """Raise for an adapter of the hub that the submission cannot have checked; `base` is what it names.

    `InvalidRequestError` (`model_invalid`): a base model in a folder, which is one of another machine.
    `ServiceUnavailableError` (`model_hub_away`): the commit is not pinned, as the hub was unreachable at the time.
    """
    if not is_hub_id(base.partition("@")[0]):
        raise InvalidRequestError(
            f"{ADAPTER_CONFIG} of the adapter names a base model that is not on the hub. Download the adapter to a "
            "model folder, and set base_model_name_or_path there to the base model's hub id or path.",
            "model_invalid",
            "model",
        )
    if not COMMIT.fullmatch(revision):
        raise ServiceUnavailableError(
            "The model is an adapter, which could not be checked earlier because the hub was unreachable. Submit the "
            "job again.",
            "model_hub_away",
            "model",
        )


def _with_adapter(base: BaseModel, folder: Path) -> BaseModel:
    if base.adapter is not None:
        raise adapter_on_adapter()
    return replace(base, adapter=folder)


def base_of_adapter(folder: Path) -> str | None:
    """The base model that the adapter in a folder names; `None` where there is no adapter.

    The result is as for `base_name`. Raise `InvalidRequestError` (`model_invalid`) for an `adapter_config.json` that
    names none, or another adapter.
    """
    try:
        document = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError):
        document = None
    base = base_name(document if isinstance(document, dict) else {})
    # `os.path.exists` takes any name, however long.
    if base.startswith("/") and os.path.exists(f"{base}/{ADAPTER_CONFIG}"):
        raise adapter_on_adapter()
    return base


def adapter_on_adapter() -> InvalidRequestError:
    """The error for an adapter whose base model is an adapter."""
    return InvalidRequestError(
        f"{ADAPTER_CONFIG} of the adapter does not name a base model, but another adapter. Name a whole model there.",
        "model_invalid",
        "model",
    )


def is_in_models_folder(model: str, models_folder: Path, pinned: str | None) -> bool:
    """Whether a hub id means the local folder of that name. A commit, named or pinned, always means the hub."""
    name, _, revision = model.partition("@")
    if COMMIT.fullmatch(revision):
        return False
    if pinned is not None:
        return pinned.startswith(LOCAL_REVISION)
    return not revision and local_folder(name, models_folder).is_dir()


def local_folder(name: str, models_folder: Path) -> Path:
    """Where the files of the model with this hub id are, if they are in the models folder."""
    return models_folder / name.replace("/", "--")


def fingerprint(folder: Path) -> str:
    """A cheap identity of a local model folder: its config, and size, head and tail of every weight file.

    Raises `NotFoundError` for a folder without a config.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise NotFoundError(
            f"The folder {folder.name} holds no model: its config.json is missing.", "model_not_found", "model"
        )
    digest = hashlib.sha256(config.read_bytes())
    for file in sorted(file for file in folder.glob("*.safetensors") if file.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(2**20))
            stream.seek(max(0, size - 2**20))
            digest.update(stream.read())
    return f"{LOCAL_REVISION}{digest.hexdigest()[:16]}"


def _on_this_machine(name: str, folder: Path) -> BaseModel:
    base = BaseModel(name, folder, fingerprint(folder))
    facts_of(folder)
    return base

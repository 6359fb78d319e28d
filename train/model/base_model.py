"""Base models: their folders and revisions. Light: nothing is loaded here."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from ftlab.errors import InvalidRequestError, NotFoundError
from train.model.download import fetch
from train.model.files import ADAPTER_CONFIG
from train.model.folder import facts_of
from train.plan import LocalBase

LOCAL_REVISION = "local-"
"""Prefix of a folder's revision; any other revision is a commit of the hub."""


@dataclass(frozen=True)
class BaseModel:
    """A base model on this machine."""

    name: str
    """Name for users: as in `LocalBase`, or the path of a folder that has no such name."""
    folder: Path
    revision: str
    adapter: Path | None = None
    """An adapter of a former job to continue training."""
    download: str | None = None
    """As in `LocalBase`."""


def find_model(
    model: str, models_folder: Path, *, pinned: str | None = None, local: LocalBase | None = None
) -> BaseModel:
    """Find the model's folder, fetching it from the hub where it is not on this machine.

    `pinned` is the revision that the submission or an earlier attempt found. An adapter folder means its base model and
    the adapter. `local` is the base model, also that of an adapter, where its name does not lead to its folder. Raises
    what `fetch`, `base_of_adapter` and `train.model.files.describe` raise, and `NotFoundError` for a folder that no
    longer exists.
    """
    if model.startswith("/"):
        folder = Path(model)
        if not folder.is_dir():
            gone = f"model {local.name}" if local else f"model folder {model}"
            raise NotFoundError(f"The files of the {gone} no longer exist.", "model_not_found", "model")
        if (named := base_of_adapter(folder)) is not None:
            base = find_model(str(local.folder) if local else named, models_folder, pinned=pinned, local=local)
            return replace(base, adapter=folder)
        if local is not None:
            return replace(_on_this_machine(local.name, folder), download=local.download)
        return _on_this_machine(model, folder)
    name, _, revision = model.partition("@")
    if is_in_models_folder(model, models_folder, pinned):
        return _on_this_machine(name, _local_folder(name, models_folder))
    folder = fetch(name, pinned or revision or None)
    return BaseModel(name, folder, folder.name)


def base_of_adapter(folder: Path) -> str | None:
    """The base model that the adapter in a folder names; `None` where there is no adapter.

    Raise `InvalidRequestError` (`model_invalid`) for an `adapter_config.json` that names none, or another adapter.
    """
    try:
        base = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))["base_model_name_or_path"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, RecursionError):
        base = None
    if not isinstance(base, str) or not base or (base.startswith("/") and (Path(base) / ADAPTER_CONFIG).exists()):
        raise InvalidRequestError(
            f"{ADAPTER_CONFIG} of the adapter does not name a base model; start from another model.",
            "model_invalid",
            "model",
        )
    return base


def is_in_models_folder(model: str, models_folder: Path, pinned: str | None) -> bool:
    """Whether a hub id means the local folder of that name. A pinned commit always means the hub."""
    if pinned is not None:
        return pinned.startswith(LOCAL_REVISION)
    name, _, revision = model.partition("@")
    return not revision and _local_folder(name, models_folder).is_dir()


def _local_folder(name: str, models_folder: Path) -> Path:
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

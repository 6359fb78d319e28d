"""What a model on this machine is, whatever it is called: two models of the same identity give the same answers."""

import hashlib
from pathlib import Path

from ftlab.errors import FineTuneLabError
from ftlab.files import sha256_of
from ftlab.manifest import MANIFEST
from train.model.base_model import (
    COMMIT,
    LOCAL_REVISION,
    BaseModel,
    base_of_adapter,
    fingerprint,
    is_in_models_folder,
    local_folder,
)
from train.model.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from train.plan import MeasuredModel


def identity_of(base: BaseModel) -> str:
    """The revision of a base model, with the content of its adapter where it has one."""
    return _identity(base.revision, base.folder, base.adapter)


def known_identity(model: MeasuredModel, models_folder: Path) -> str | None:
    """What `identity_of` will say of a model that need not be on this machine yet; `None` where that is not known."""
    try:
        if not model.model.startswith("/"):
            return _of_hub_model(model.model, models_folder, model.pinned_revision, None)
        folder = Path(model.model)
        named = base_of_adapter(folder)
        if named is None:
            return _identity(fingerprint(folder), folder, None)
        if model.local_base is not None:
            return _identity(fingerprint(model.local_base.folder), model.local_base.folder, folder)
        return _of_hub_model(named, models_folder, model.pinned_revision, folder)
    except (OSError, FineTuneLabError):
        return None


def _of_hub_model(name: str, models_folder: Path, pinned: str | None, adapter: Path | None) -> str | None:
    repo, _, revision = name.partition("@")
    if is_in_models_folder(name, models_folder, pinned):
        folder = local_folder(repo, models_folder)
        if adapter is None and (folder / ADAPTER_CONFIG).is_file():
            return None
        return _identity(fingerprint(folder), folder, adapter)
    commit = next((each for each in (revision, pinned or "") if COMMIT.fullmatch(each)), None)
    return None if commit is None else _identity(commit, models_folder, adapter)


def _identity(revision: str, folder: Path, adapter: Path | None) -> str:
    """`revision` is a commit of the hub, or the fingerprint of `folder`.

    A fingerprint reads only the ends of large files, so the hashes in the manifest of a tuned model count too.
    """
    digest = hashlib.sha256(revision.encode())
    files = [] if adapter is None else [adapter / ADAPTER_CONFIG, adapter / ADAPTER_WEIGHTS]
    if revision.startswith(LOCAL_REVISION):
        files.append(folder / MANIFEST)
    for file in files:
        if file.is_file():
            digest.update(sha256_of(file).encode())
    return digest.hexdigest()

"""Base models of the hub on this machine: find them in the hub's cache, or fetch them into it."""

import re
from pathlib import Path

from ftlab.errors import FineTuneLabError, ServiceUnavailableError
from ftlab.files import free_bytes
from train.failures.errors import DiskFullError
from train.model.adapter_files import adapter_facts
from train.model.files import ADAPTER_CONFIG, CONFIG, wanted_files
from train.model.folder import facts_of
from train.model.hub_errors import HubAwayError, hub_errors

LISTING_TIMEOUT_S = 30.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetched(repo: str, revision: str | None) -> Path | None:
    """The folder of a model that was fetched before, as a whole; `None` for any other."""
    from huggingface_hub import try_to_load_from_cache

    configs = (try_to_load_from_cache(repo, name, revision=revision) for name in (ADAPTER_CONFIG, CONFIG))
    config = next((config for config in configs if isinstance(config, str)), None)
    if config is None:
        return None
    folder = Path(config).parent
    try:
        _check(folder)
    except FineTuneLabError:
        return None
    return folder


def fetch(repo: str, revision: str | None) -> Path:
    """Return the folder of the model, whose name is the commit; missing files are fetched from the hub.

    While the hub is unreachable, an earlier download is used. Raises `DiskFullError` before anything is fetched that
    does not fit, `NotFoundError` (`model_not_found`), `PermissionDeniedError` (`model_access_denied`),
    `ServiceUnavailableError` (`model_hub_away`), and what `train.model.files.describe` and
    `train.model.adapter_files.describe_adapter` raise.
    """
    from huggingface_hub import HfApi, snapshot_download

    if _COMMIT.fullmatch(revision or "") and (folder := fetched(repo, revision)):
        return folder
    try:
        with hub_errors():
            info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=LISTING_TIMEOUT_S)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        wanted = wanted_files(sizes)
        _check_space(repo, {name: sizes[name] for name in wanted}, info.sha)
        with hub_errors():
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))
    except HubAwayError as away:
        if folder := fetched(repo, revision):
            return folder
        raise ServiceUnavailableError(
            f"The base model {repo} is not on this machine, and the model hub is unreachable ({away}). Check the "
            "network, or put the model in the models folder.",
            "model_hub_away",
            "model",
        ) from None
    _check(folder)
    return folder


def _check(folder: Path) -> None:
    if adapter_facts(folder) is None:
        facts_of(folder)


def _check_space(repo: str, sizes: dict[str, int], commit: str | None) -> None:
    from huggingface_hub import constants, try_to_load_from_cache

    missing = [name for name in sizes if not isinstance(try_to_load_from_cache(repo, name, revision=commit), str)]
    needed = sum(sizes[name] for name in missing)
    cache = Path(constants.HF_HUB_CACHE)
    free = free_bytes(cache)
    if needed > free:
        raise DiskFullError(
            f"Fetching the base model {repo} takes {needed:,} bytes, and the disk of {cache} has {free:,} bytes free. "
            "Free some space, then submit the job again."
        )

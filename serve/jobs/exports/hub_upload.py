"""Upload an artifact to a hub of models with the token of the caller. Every function blocks on the network.

The client of the hub sends large files one by one and skips those that the hub has by their SHA-256; one commit at the
end publishes all. An upload that is cut leaves the repository as it was, and a repeated one sends only what is missing.
"""

import functools
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import httpx2

from ftlab.errors import (
    ConflictError,
    FineTuneLabError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServiceUnavailableError,
)
from ftlab.manifest import Manifest, ManifestFile, read_manifest
from ftlab.schemas.hub import HubCommit, HubPush, PushProgress

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi, ModelInfo

TIMEOUT_S = 120.0
"""Longest silence of the hub."""
MAX_REASON_CHARS = 200
WEIGHT_SUFFIXES = frozenset({".safetensors", ".gguf", ".bin", ".pt", ".pth"})

Phase = Literal["checking", "uploading", "committing"]
Report = Callable[[PushProgress], None]
"""Called often with the progress; what it raises ends the upload."""


@dataclass(frozen=True)
class HubTarget:
    """A repository that takes an artifact."""

    api: "HfApi"
    repo: str
    revision: str
    """The commit that the upload follows."""
    token: str
    """Kept only to take it out of what the hub answers."""

    def __repr__(self) -> str:
        return f"HubTarget({self.repo!r})"


def open_repository(push: HubPush, folder: Path, endpoint: str | None = None) -> HubTarget:
    """Create the repository, or find it and check that it can take the artifact in `folder`.

    `endpoint` is by default the public hub or the variable `HF_ENDPOINT`. Raises `PermissionDeniedError`
    (`hub_access_denied`), `NotFoundError` (`hub_not_found`), `ConflictError` (`hub_conflict`), `InvalidRequestError`
    (`hub_refused`), `RateLimitError` (`hub_rate_limited`) and `ServiceUnavailableError` (`hub_away`).
    """
    from huggingface_hub import HfApi

    _limit_waits()
    token = push.token.get_secret_value()
    api = HfApi(endpoint, token=token)
    with _hub_errors(token):
        api.create_repo(push.repo, private=push.private, exist_ok=True)
        info = api.model_info(push.repo, revision="main")
    if push.private and not info.private:
        raise ConflictError(
            "The repository exists and is public. Set 'private' to false (--public) to publish the files, make the "
            "repository private on the hub, or name another one.",
            "hub_conflict",
            "private",
        )
    if info.sha is None:
        raise _away("it answers without a commit")
    _check_weights(info, _manifest(folder).files)
    return HubTarget(api, push.repo, info.sha, token)


def upload(target: HubTarget, folder: Path, title: str, report: Report) -> HubCommit:
    """Upload the files of an artifact as one commit, and check that the hub has them.

    Raises what `open_repository` raises, and `ConflictError` (`artifact_changed`) for a file that is not what was
    exported.
    """
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    manifest = _manifest(folder)
    progress = _Progress(manifest.size_bytes, report)
    with ExitStack() as files:
        additions = [_addition(files, folder, name, each, progress) for name, each in manifest.files.items()]
        with _hub_errors(target.token):
            progress.begin("uploading")
            for addition in additions:
                # One by one: the addresses that the hub hands out for large files expire.
                target.api.preupload_lfs_files(target.repo, [addition], num_threads=1, free_memory=False)
                progress.complete(addition.upload_info.size)
            progress.begin("committing")
            commit = target.api.create_commit(
                target.repo, additions, commit_message=title, parent_commit=target.revision, num_threads=1
            )
            info = target.api.model_info(target.repo, revision=commit.oid, files_metadata=True)
    _check_arrived(info, manifest.files)
    return HubCommit(
        repo=target.repo,
        url=f"{target.api.endpoint}/{target.repo}",
        commit=commit.oid,
        is_new=commit.oid != target.revision,
        num_files=len(manifest.files),
        size_bytes=manifest.size_bytes,
    )


class _Progress:
    """Counts the bytes of the files that are behind, and of the one that is being read."""

    def __init__(self, total_bytes: int, report: Report) -> None:
        self._total_bytes, self._report = total_bytes, report
        self._phase: Phase = "checking"
        self._behind = 0

    def begin(self, phase: Phase) -> None:
        self._phase, self._behind = phase, 0
        self.at(0)

    def complete(self, size: int) -> None:
        self._behind += size
        self.at(0)

    def at(self, place: int) -> None:
        done = self._total_bytes if self._phase == "committing" else self._behind + place
        self._report(PushProgress(phase=self._phase, done_bytes=done, total_bytes=self._total_bytes))


class _WatchedFile(io.BufferedReader):
    """A file that reports how far it was read."""

    def __init__(self, path: Path, progress: _Progress) -> None:
        super().__init__(io.FileIO(path))
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size)
        self._progress.at(self.tell())
        return part


def _addition(
    files: ExitStack, folder: Path, name: str, expected: ManifestFile, progress: _Progress
) -> "CommitOperationAdd":
    """A file of the commit. Its hash must be that of the export."""
    from huggingface_hub import CommitOperationAdd

    try:
        file = files.enter_context(_WatchedFile(folder / name, progress))
        addition = CommitOperationAdd(name, file)
    except FileNotFoundError:
        raise _gone(folder) from None
    if addition.upload_info.sha256.hex() != expected.sha256:
        raise ConflictError(
            f"{name} of the artifact changed on the disk after the export. Check the disk, then export again.",
            "artifact_changed",
            "artifact",
        )
    progress.complete(expected.size)
    return addition


def _manifest(folder: Path) -> Manifest:
    try:
        return read_manifest(folder)
    except (OSError, ValueError):
        raise _gone(folder) from None


def _check_weights(info: "ModelInfo", wanted: Mapping[str, ManifestFile]) -> None:
    """Refuse a repository with weights that would stay beside those of the artifact: programs may load either."""
    others = [file.rfilename for file in info.siblings or () if file.rfilename not in wanted]
    for name in others:
        if PurePosixPath(name).suffix in WEIGHT_SUFFIXES:
            raise ConflictError(
                f"The repository has other weights, {name}, that would stay beside those of the artifact. Name "
                "another repository, or delete the file there.",
                "hub_conflict",
                "repo",
            )


def _check_arrived(info: "ModelInfo", wanted: Mapping[str, ManifestFile]) -> None:
    """Each file must be in the commit: the hub leaves out those that a `.gitignore` of the repository names."""
    found = {file.rfilename: file for file in info.siblings or ()}
    for name, expected in wanted.items():
        file = found.get(name)
        if file is None or file.size != expected.size or (file.lfs and file.lfs.sha256 != expected.sha256):
            raise ConflictError(
                f"The commit was made, but {name} is not in the repository as it was sent. Look for it in the "
                "repository's .gitignore, then upload again.",
                "hub_conflict",
                "repo",
            )


@functools.cache
def _limit_waits() -> None:
    """Give the hub's client a timeout; by default it waits forever."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def client() -> httpx2.Client:
        made = default_client_factory()
        made.timeout = httpx2.Timeout(TIMEOUT_S)
        return made

    set_client_factory(client)


@contextmanager
def _hub_errors(token: str) -> Iterator[None]:
    """Translate the errors of the hub's client."""
    # An edge: the caller waits for the answer, whatever another machine sends.
    try:
        yield
    except Exception as error:
        found = next((each for each in _causes(error) if isinstance(each, FineTuneLabError | UploadStopped)), None)
        raise (found or _translate(error, token)) from None


class UploadStopped(Exception):
    """Ends an upload whose caller has gone."""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _translate(error: Exception, token: str) -> FineTuneLabError:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return _away("HF_HUB_OFFLINE is set for the service")
    refused = next((each for each in _causes(error) if isinstance(each, HfHubHTTPError)), None)
    if refused is None:
        # By its class: the text of such an error may contain addresses.
        return _away(type(error).__name__)
    status = refused.response.status_code
    if status in (401, 403):
        return PermissionDeniedError(
            "The hub does not let this token write to the repository. Use a token with the right to write there.",
            "hub_access_denied",
            "token",
        )
    if status == 404:
        return NotFoundError(
            "The hub finds no such repository that this token may see. Check the owner and the token.",
            "hub_not_found",
            "repo",
        )
    if status in (409, 412):
        return ConflictError(
            "The repository was changed by somebody else during the upload. Upload again.",
            "hub_conflict",
            "repo",
        )
    if status == 413:
        return InvalidRequestError(
            "The artifact is larger than the hub accepts. Export a smaller format, or raise the limit there.",
            "hub_refused",
            "repo",
        )
    if status == 429:
        return RateLimitError("The hub gets too many requests with this token. Wait, then upload again.",
                              "hub_rate_limited")  # fmt: skip
    if status >= 500:
        return _away(f"HTTP status {status}")
    reason = (refused.server_message or f"HTTP status {status}").replace(token, "…")
    reason = " ".join(reason.split())[:MAX_REASON_CHARS].rstrip(".")
    return InvalidRequestError(f"The hub refuses the upload: {reason}.", "hub_refused", "repo")


def _away(why: str) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"The hub does not take the upload now ({why}). Upload again later: files that arrived are not sent again.",
        "hub_away",
    )


def _gone(folder: Path) -> NotFoundError:
    return NotFoundError(f"The artifact {folder.name} no longer exists.", "artifact_not_found", "artifact")

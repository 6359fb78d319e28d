"""The checkpoint that a resume names: which one it is, and whether it is intact.

Nothing that a caller sends becomes a path: a name is looked up in the record, and its folder follows from that.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ftlab.errors import ConflictError, NotFoundError
from ftlab.manifest import MANIFEST, read_manifest
from tracking.store.ids import JOB_ID
from tracking.store.records import CheckpointRecord, JobRecord
from train.checkpoints.checkpoint_files import step_name

LATEST, BEST = "latest", "best"
"""Names that stand for the newest intact checkpoint, and for the one with the lowest eval loss."""

_NAME = re.compile(r"(?:step-)?([0-9]{1,12})")


@dataclass(frozen=True)
class CheckpointChoice:
    """The checkpoint that a resume asks for: by its name or step, by a path of earlier clients, `best` or `latest`."""

    name: str | None = None
    path: str | None = None

    @property
    def is_given(self) -> bool:
        return self.name is not None or self.path is not None

    def name_for(self, job: JobRecord, checkpoints: Sequence[CheckpointRecord]) -> str | None:
        """The checkpoint's name, `None` for the newest one. Raise `NotFoundError` for anything else."""
        if self.path is not None:
            return name_in_path(self.path, job.id)
        if self.name == BEST:
            return _best(checkpoints).name
        return None if self.name in (None, LATEST) else name_of(str(self.name))


def check_whole(checkpoints_folder: Path, record: CheckpointRecord) -> None:
    """Compare the folder with the record and with its manifest, without reading large files.

    The run that starts from it compares every byte. Raise `ConflictError` with code `checkpoint_corrupt`.
    """
    try:
        _check(checkpoints_folder / record.name, record.manifest_sha256)
    except (OSError, ValueError) as error:
        problem = str(error) if isinstance(error, ValueError) else f"{record.name} cannot be read"
        raise ConflictError(
            f"The checkpoint cannot be used: {problem}. Resume from another checkpoint, or name none to resume from "
            "the newest intact one.",
            "checkpoint_corrupt",
            "checkpoint",
        ) from None


def name_of(text: str) -> str:
    """The checkpoint's name for a name, or a step. Raise `NotFoundError` for anything else."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise _unknown()
    return step_name(int(match[1]))


def name_in_path(path: str, job_id: str) -> str:
    """The checkpoint's name for a path whose last part is one, or for a name or a step alone.

    Raise `NotFoundError` when the path names a job other than `job_id`.
    """
    *folders, name = [part for part in re.split(r"[/\\]", path) if part] or [""]
    if any(JOB_ID.fullmatch(folder) and folder != job_id for folder in folders):
        raise _unknown()
    return name_of(name)


def _check(folder: Path, manifest_sha256: str) -> None:
    manifest = read_manifest(folder)
    if hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest() != manifest_sha256:
        raise ValueError(f"{folder.name} does not match its recorded manifest")
    for name, entry in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{folder.name}/{name} is missing")
        if file.stat().st_size != entry.size:
            raise ValueError(f"{folder.name}/{name} has a different size than when it was saved")


def _best(checkpoints: Sequence[CheckpointRecord]) -> CheckpointRecord:
    found = next((checkpoint for checkpoint in checkpoints if checkpoint.is_best), None)
    if found is None:
        message = "The job has no best checkpoint, because no eval loss was measured at one; name another checkpoint."
        raise NotFoundError(message, "checkpoint_not_found", "checkpoint")
    return found


def _unknown() -> NotFoundError:
    return NotFoundError("The job has no checkpoint of this name.", "checkpoint_not_found", "checkpoint")

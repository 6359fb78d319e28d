"""A pickle in place of a file of a checkpoint is not executed, even where the manifest vouches for it."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest

from ftlab.manifest import MANIFEST, ManifestFile, read_manifest
from ftlab.status import ReasonCode
from tests.unit.train.runs import Job, Link
from train.checkpoints import checkpoint_files
from train.failures.classify import classify


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self._mark,)


def vouch_for(folder: Path, name: str) -> None:
    """Write the file as it is now into the manifest."""
    content = (folder / name).read_bytes()
    manifest = read_manifest(folder)
    known = ManifestFile(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    changed = manifest.model_copy(update={"files": manifest.files | {name: known}})
    (folder / MANIFEST).write_text(changed.model_dump_json())


def test_a_resume_executes_nothing(job: Job, tmp_path: Path):
    job.train(training={"max_steps": 4})
    folder, mark = job.folder / "checkpoints" / "step-00000003", tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(mark)))
    mark.unlink()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(pickle.dumps(Payload(mark)))
        vouch_for(folder, name)
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed") as caught:
            job.train(training={"max_steps": 4}, resume_from=folder.name)
        assert classify(caught.value, job.folder).reason is ReasonCode.CHECKPOINT_CORRUPT
        assert not mark.exists(), name
        (folder / name).write_bytes(kept)
        vouch_for(folder, name)


def test_one_that_the_manifest_does_not_know_is_set_aside(job: Job, tmp_path: Path):
    job.train(training={"max_steps": 4})
    folder, mark = job.folder / "checkpoints", tmp_path / "executed"
    (folder / "step-00000004" / "optimizer.pt").write_bytes(pickle.dumps(Payload(mark)))
    link = Link()
    job.train(link, training={"max_steps": 4})
    assert link.notices("resuming") == ["Resuming from step 3."]
    assert len(link.notices("checkpoint_corrupt")) == 1
    assert not mark.exists()
    checkpoint_files.verify(folder / "step-00000004")

"""Going on from a checkpoint that the user names."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ftlab.errors import FineTuneLabError
from ftlab.schemas import EventKind
from ftlab.status import ReasonCode
from tests.unit.train.runs import CrashError, Job, Link, Trained
from train.checkpoints import checkpoint_files
from train.checkpoints.checkpoint_files import MANIFEST
from train.failures.classify import classify
from train.plan import StopKind

TRAINING = {"save_steps": 2, "save_total_limit": 9, "eval_steps": 2}
NAMED = "step-00000002"


@pytest.fixture
def paused(train_once: Callable[..., Trained], tmp_path: Path) -> Job:
    """Checkpoints of steps 2, 4, 6 and 7."""
    return train_once(pause_at=7, training=TRAINING).copy(tmp_path / "job")


def test_the_run_goes_on_from_there_and_newer_checkpoints_are_gone(paused: Job, tmp_path: Path):
    twin = Job(tmp_path / "twin", paused.models, paused.rows, paused.eval_rows)
    twin.train(training=TRAINING)
    link = Link(stop_at={3: StopKind.PAUSE})
    outcome = paused.train(link, training=TRAINING, resume_from=NAMED)
    assert (outcome.step, paused.checkpoints) == (3, [NAMED, "step-00000003"])
    [notice] = [data for data in link.told(EventKind.NOTICE) if data["code"] == "checkpoints_given_up"]
    assert (notice["step"], notice["removed_steps"]) == (2, [4, 6, 7])
    assert notice["message"] == (
        "Resuming from step 2, as requested. "
        "Newer checkpoints were removed: step-00000004, step-00000006, step-00000007."
    )
    assert link.notices("resuming") == ["Resuming from step 2."]
    assert paused.recorded_checkpoints == (2, 3), "the record loses them too"
    assert link.receipt()["bit_exact"]
    paused.train(training=TRAINING)
    assert paused.weights_sha256 == twin.weights_sha256


def test_a_later_crash_does_not_jump_ahead(paused: Job):
    with pytest.raises(CrashError):
        paused.train(Link(crash_at=3), training=TRAINING, resume_from=NAMED)
    link = Link()
    paused.train(link, training=TRAINING)
    assert link.notices("resuming") == ["Resuming from step 2."]


def test_the_newest_one_can_be_named_and_nothing_is_given_up(paused: Job):
    link = Link()
    paused.train(link, training=TRAINING, resume_from="step-00000007")
    assert link.notices("checkpoints_given_up") == []
    assert link.notices("resuming") == ["Resuming from step 7."]


def test_the_best_of_those_that_are_left_is_told(paused: Job):
    """The best one of all is given up; of the others the one before the named one is the best."""
    losses = {2: 0.5, 4: 0.6, 6: 0.4}
    for step, eval_loss in losses.items():
        file = paused.folder / "checkpoints" / checkpoint_files.step_name(step) / MANIFEST
        file.write_text(json.dumps(json.loads(file.read_text()) | {"metrics": {"eval_loss": eval_loss}}))
    link = Link(stop_at={5: StopKind.PAUSE})
    paused.train(link, training=TRAINING, resume_from="step-00000004")
    first, second, _ = link.told(EventKind.CHECKPOINT)
    assert (first["step"], first["is_best"], first["removed_steps"]) == (2, True, [])
    assert (second["step"], second["is_best"], second["removed_steps"]) == (4, False, [6, 7])


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


def tear(folder: Path) -> None:
    (folder / "optimizer.pt").write_bytes(b"torn")


def give_away(folder: Path) -> None:
    file = folder / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | {"job_id": "job-2"}))


def exchange(folder: Path) -> None:
    remove(folder)
    shutil.copytree(folder.with_name("step-00000004"), folder)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (remove, "is not among the job's checkpoints"),
        (tear, f"is damaged ({NAMED}/optimizer.pt does not match its checksum)"),
        (give_away, "belongs to another job"),
        (exchange, "has the manifest of another step"),
    ],
)
def test_one_that_cannot_be_used_ends_the_run_and_nothing_is_given_up(
    paused: Job, harm: Callable[[Path], None], why: str
):
    harm(paused.folder / "checkpoints" / NAMED)
    before = paused.checkpoints
    with pytest.raises(FineTuneLabError) as caught:
        paused.train(training=TRAINING, resume_from=NAMED)
    failure = classify(caught.value, paused.folder)
    assert failure.reason is ReasonCode.CHECKPOINT_CORRUPT
    assert failure.message == (
        f"The checkpoint {NAMED} {why}, so the job cannot resume from it. Resume from another checkpoint, or name none "
        "to use the newest intact one."
    )
    assert paused.checkpoints == before


@pytest.mark.parametrize("name", ["../../job-2/checkpoints/step-00000002", "bad-step-00000002-1", "step-2", ""])
def test_only_a_checkpoints_name_is_a_name(paused: Job, name: str):
    with pytest.raises(FineTuneLabError, match="is not the name of a checkpoint"):
        paused.train(training=TRAINING, resume_from=name)


@pytest.mark.parametrize("num_removed", [0, 1, 2])
def test_a_crash_while_newer_ones_are_removed_is_made_good_by_the_next_attempt(
    paused: Job, monkeypatch: pytest.MonkeyPatch, num_removed: int
):
    removed = iter(range(100))
    rename = Path.rename

    def dies(self: Path, target: Path) -> Path:
        if target.name.startswith(".tmp-gone-") and next(removed) == num_removed:
            raise CrashError
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", dies)
    with pytest.raises(CrashError):
        paused.train(training=TRAINING, resume_from=NAMED)
    left = [name for name in paused.checkpoints if name.startswith("step-")]
    assert left == [NAMED, "step-00000004", "step-00000006", "step-00000007"][: 4 - num_removed]
    monkeypatch.setattr(Path, "rename", rename)

    link = Link(stop_at={3: StopKind.PAUSE})
    paused.train(link, training=TRAINING, resume_from=NAMED)
    assert paused.checkpoints == [NAMED, "step-00000003"]
    [notice] = [data for data in link.told(EventKind.NOTICE) if data["code"] == "checkpoints_given_up"]
    assert notice["removed_steps"] == [4, 6, 7], "all, as the attempt that died could not tell"
    assert paused.recorded_checkpoints == (2, 3)

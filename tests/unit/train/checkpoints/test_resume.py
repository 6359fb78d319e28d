"""A run that was interrupted goes on as if it had not been."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ftlab.schemas import EventKind
from tests.unit.train.runs import CrashError, Job, Link, Trained
from train.checkpoints import checkpoint_files
from train.plan import Ending


def crash(job: Job, step: int, **config: object) -> Link:
    link = Link(crash_at=step)
    with pytest.raises(CrashError):
        job.train(link, **config)
    return link


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="lora"),
        pytest.param({"tuning": "full", "training": {"learning_rate": 0.003}}, id="full"),
        pytest.param({"load_in_4bit": True}, id="4-bit"),
        pytest.param({"training": {"dtype": "bfloat16"}}, id="bfloat16"),
        pytest.param({"training": {"eval_steps": 2}}, id="evaluations"),
    ],
)
def test_the_loss_goes_on_as_in_a_run_without_interruption(job: Job, train_once: Callable[..., Trained], config: dict):
    (twin, whole, _), resumed = train_once(**config), Link()
    before = crash(job, 5, **config)
    outcome = job.train(resumed, **config)
    assert outcome.ending is Ending.FINISHED
    # Step 3 is due; step 4 is saved where it is evaluated, because it is the best so far.
    newest = 4 if "eval_steps" in config.get("training", {}) else 3
    assert resumed.notices("resuming") == [f"Resuming from step {newest}."]
    assert list(resumed.series("loss")) == list(range(newest + 1, 9))
    assert before.series("loss") | resumed.series("loss") == whole.series("loss")
    evaluated = {step: loss for step, loss in whole.series("eval_loss").items() if step > newest}
    assert resumed.series("eval_loss") == evaluated
    assert resumed.series("num_tokens")[8] == whole.series("num_tokens")[8]
    assert job.weights_sha256 == twin.weights_sha256


def test_a_run_that_is_interrupted_again_and_again_ends_the_same(job: Job, train_once: Callable[..., Trained]):
    twin, whole, _ = train_once()
    merged: dict[int, float] = {}
    for step in (2, 5, 5, 7):
        merged |= crash(job, step).series("loss")
    last = Link()
    job.train(last)
    assert merged | last.series("loss") == whole.series("loss")
    assert job.weights_sha256 == twin.weights_sha256
    assert job.checkpoints == twin.checkpoints


def test_a_torn_newest_checkpoint_is_set_aside_and_the_one_before_used(job: Job, train_once: Callable[..., Trained]):
    (twin, whole, _), resumed = train_once(), Link()
    crash(job, 7)
    optimizer = job.folder / "checkpoints" / "step-00000006" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    job.train(resumed)
    assert resumed.notices("checkpoint_corrupt") == [
        "A checkpoint was set aside: step-00000006/optimizer.pt does not match its checksum."
    ]
    assert resumed.notices("resuming") == ["Resuming from step 3."]
    assert resumed.series("loss") == {step: loss for step, loss in whole.series("loss").items() if step > 3}
    assert job.weights_sha256 == twin.weights_sha256
    assert "bad-step-00000006-1" in job.checkpoints


def test_without_a_usable_checkpoint_the_run_starts_over(job: Job):
    crash(job, 5)
    (job.folder / "checkpoints" / "step-00000003" / checkpoint_files.MANIFEST).unlink()
    link = Link()
    job.train(link)
    assert link.notices("checkpoint_corrupt") == ["A checkpoint was set aside: step-00000003 has no manifest."]
    assert list(link.series("loss")) == list(range(1, 9))


def test_what_a_killed_attempt_left_half_written_is_swept(job: Job):
    crash(job, 5)
    left = job.folder / "checkpoints" / ".tmp-1" / "checkpoint-6"
    left.mkdir(parents=True)
    (left / "optimizer.pt").write_bytes(b"half")
    job.train()
    assert job.checkpoints == ["step-00000003", "step-00000006", "step-00000008"]


def test_a_lower_limit_frees_the_disk_before_the_next_checkpoint_is_saved(job: Job):
    crash(job, 7)
    assert job.checkpoints == ["step-00000003", "step-00000006"]
    crash(job, 7, training={"save_total_limit": 1})
    assert job.checkpoints == ["step-00000006"]


def test_a_run_whose_training_was_over_only_delivers(train_once: Callable[..., Trained], tmp_path: Path):
    """The process ended after the last checkpoint and before, or in the middle of, the delivery."""
    trained = train_once()
    job, twin = trained.copy(tmp_path / "job"), trained.job
    shutil.rmtree(job.folder / "model")
    link = Link()
    outcome = job.train(link)
    assert (outcome.ending, outcome.step, outcome.delivered_step) == (Ending.FINISHED, 8, 8)
    assert link.series("loss") == {}
    assert job.weights_sha256 == twin.weights_sha256


def test_the_count_of_samples_goes_on(job: Job):
    crash(job, 5)
    link = Link()
    job.train(link)
    [notice] = [data for data in link.told(EventKind.NOTICE) if data["code"] == "resuming"]
    assert (notice["step"], notice["samples"]) == (3, 6)
    manifest = checkpoint_files.verify(job.folder / "checkpoints" / "step-00000008")
    assert (manifest.samples, manifest.attempt) == (16, 2)


def test_what_a_killed_attempt_could_not_tell_is_told_by_the_next(job: Job):
    """It was killed after the commit of step 6; the record knows its steps 1 to 4 and the checkpoint of step 3."""
    first = Link(crash_at=7)
    with pytest.raises(CrashError):
        job.train(first)
    job.recorded_step, job.recorded_checkpoints = 4, (3,)

    second = Link()
    job.train(second)

    assert list(second.series("loss")) == [5, 6, 7, 8]
    assert {step: second.series("loss")[step] for step in (5, 6)} == {
        step: first.series("loss")[step] for step in (5, 6)
    }
    told_again, *_ = second.told(EventKind.CHECKPOINT)
    told = next(data for data in first.told(EventKind.CHECKPOINT) if data["step"] == 6)
    assert told_again == told | {"times_s": {}}, "the times of another attempt are not known"


def test_what_the_record_has_is_not_told_twice(job: Job):
    with pytest.raises(CrashError):
        job.train(Link(crash_at=7))

    second = Link()
    job.train(second)

    assert list(second.series("loss")) == [7, 8], "trained again, as every step after the checkpoint"


def test_an_evaluation_that_was_not_told_is_told_by_the_next(job: Job):
    """The process was killed between the loss of step 6, which is in the record, and the evaluation of that step."""
    first, second = Link(crash_at=7), Link()
    with pytest.raises(CrashError):
        job.train(first, training={"eval_steps": 3})
    job.recorded_step, job.recorded_eval_step = 6, 3

    job.train(second, training={"eval_steps": 3})

    assert list(second.series("loss")) == [7, 8]
    assert list(second.series("eval_loss")) == [6, 8]
    assert second.series("eval_loss")[6] == first.series("eval_loss")[6]


def test_checkpoints_that_are_gone_leave_the_record(job: Job):
    """The process was killed between removing the checkpoint of step 2 and telling so; that of step 6 broke."""
    crash(job, 8, training={"save_steps": 2})
    torn = job.folder / "checkpoints" / "step-00000006" / "optimizer.pt"
    torn.write_bytes(b"")
    shutil.rmtree(job.folder / "checkpoints" / "step-00000002")
    assert job.recorded_checkpoints == (2, 4, 6)
    link = Link()
    job.train(link, training={"save_steps": 2})
    first, *_ = link.told(EventKind.CHECKPOINT)
    assert (first["step"], first["removed_steps"]) == (4, [2, 6])
    assert job.recorded_checkpoints == (4, 6, 8)

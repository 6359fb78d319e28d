"""Disks that fill up, and checkpoints that are gone or broken when they are needed."""

import shutil

import pytest

from ftlab.status import FailureCause, JobStatus, Phase, ReasonCode
from tests.chaos import outages, sandbox
from tests.chaos.scene import Scene
from train.checkpoints import checkpoint_files

MIB = 1024**2


@pytest.mark.chaos
def test_a_disk_that_fills_up_in_a_checkpoint_ends_the_job_with_what_to_do(scene: Scene) -> None:
    size_bytes = _size_of_a_checkpoint(scene)
    before = scene.submit(max_steps=150)  # holds the devices until the small disk is there
    job = scene.submit(max_steps=60)
    folder = scene.folder(job.id)
    folder.mkdir(parents=True, exist_ok=True)
    if not sandbox.mount_small_disk(folder, size_bytes * 5 // 2):
        pytest.skip("mounting a small disk is not permitted here")
    scene.client.jobs.cancel(before.id)

    failed = scene.finish(job)

    assert (failed.status, failed.reason) == (JobStatus.FAILED, ReasonCode.DISK_FULL), failed.message
    assert str(folder) in failed.message
    assert "bytes free" in failed.message
    assert failed.retries_used == 0
    assert len(scene.lab.attempts(job.id)) == 1
    kept = scene.checkpoints(job.id)
    assert [step for step, _ in kept] == [5, 10]
    for _, path in kept:
        checkpoint_files.verify(path)

    why = scene.client.jobs.failure(job.id)
    assert (why.cause, why.phase, why.confidence) == (FailureCause.DISK_FULL, Phase.SAVING, "certain")
    resumed = scene.client.jobs.resume(job.id, suggested=True)
    assert resumed.adjustments[0].sentence == "training.save_total_limit 3 -> 1"
    cured = scene.finish(job)
    assert cured.status is JobStatus.COMPLETED, cured.message


@pytest.mark.chaos
@pytest.mark.parametrize("damage", [outages.tear, shutil.rmtree], ids=["torn", "deleted"])
def test_a_job_whose_newest_checkpoint_is_lost_while_it_waits_falls_back(scene: Scene, damage: object) -> None:
    job = scene.submit(max_steps=40)
    scene.reach(job, 12)
    scene.client.jobs.pause(job.id)
    scene.become(job, JobStatus.PAUSED)
    (older, _), (newest, path) = scene.checkpoints(job.id)[-2:]
    damage(path)
    scene.client.jobs.resume(job.id)

    done = scene.finish(job)

    assert done.status is JobStatus.COMPLETED, done.message
    told = {notice.data["code"]: notice.data for notice in scene.notices(job)}
    assert told["resuming"]["step"] == older < newest
    if damage is outages.tear:
        assert path.name in told["checkpoint_corrupt"]["message"]


def _size_of_a_checkpoint(scene: Scene) -> int:
    job = scene.submit(max_steps=5)
    assert scene.finish(job).status is JobStatus.COMPLETED
    [(_, path)] = scene.checkpoints(job.id)
    return sum(file.stat().st_size for file in path.iterdir())

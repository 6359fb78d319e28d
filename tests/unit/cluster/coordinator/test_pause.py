"""Pausing a job in each status that has an attempt, and what a resume starts from."""

import pytest

from cluster.coordinator.stop_requests import HEARTBEAT_TIMEOUT_S
from cluster.runs.run_limits import SAVE_GRACE_S
from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.cluster.coordinator.world import World, add_checkpoint
from tracking.store.records import JobRecord, MetricRecord


def assert_paused(world: World, job_id: str) -> JobRecord:
    job = world.job(job_id)
    assert (job.status, job.reason, job.paused_at, job.stop_kind) == (JobStatus.PAUSED, None, world.now, None)
    assert world.told(job_id)[-2:] == ["pausing", "paused"]
    assert world.attempt(job_id).ended_at is not None
    return job


def progress(world: World, job_id: str, step: int) -> None:
    with world.store.begin() as tx:
        ref = world.job(job_id).ref
        tx.jobs.record_progress(ref, step=step, total_steps=100, epoch=1.0, now=world.now)
        tx.metrics.add([MetricRecord(job_id, "loss", at, 1.0, world.now, ref.attempt) for at in range(1, step + 1)])


@pytest.mark.parametrize("reached", [[], [JobStatus.INITIALIZING]], ids=["pending", "initializing"])
def test_a_job_that_has_nothing_to_save_is_paused_at_once(world: World, reached: list[JobStatus]):
    job_id = world.submit()
    world.tick()
    world.report(job_id, *reached)
    driver = world.attempt(job_id).driver
    world.pause(job_id)
    world.tick()
    assert assert_paused(world, job_id).message == "The job is paused. It has not started training."
    assert world.cluster.ended == [driver]


def test_a_running_job_saves_first(world: World):
    job_id = world.running()
    progress(world, job_id, 7)
    world.pause(job_id)
    world.tick()
    assert world.driver(job_id).stops == [StopKind.PAUSE]
    assert world.status(job_id) is JobStatus.PAUSING
    world.stops(job_id, ReasonCode.OK, saved_step=7)
    assert assert_paused(world, job_id).message == "The job is paused. It continues from its checkpoint of step 7."


def test_a_paused_job_rests_and_its_devices_are_given_to_the_next(world: World):
    first = world.running()
    second = world.submit()
    world.pause(first)
    world.tick()
    world.stops(first, ReasonCode.OK, saved_step=7)
    assert (world.status(first), world.status(second)) == (JobStatus.PAUSED, JobStatus.PENDING)
    world.tick(after_s=3600)
    assert world.status(first) is JobStatus.PAUSED


def test_a_slow_save_is_waited_for_longer_than_when_somebody_cancels(world: World):
    job_id = world.running()
    world.pause(job_id)
    world.tick()
    world.tick(after_s=SAVE_GRACE_S)
    assert world.status(job_id) is JobStatus.PAUSING
    world.tick(after_s=1)
    assert assert_paused(world, job_id).message == "The job is paused. It has not started training."
    assert world.attempt(job_id).message == "Stopped before it could save."


def test_a_pause_that_could_not_save_tells_what_is_lost(world: World):
    job_id = world.running()
    progress(world, job_id, 9)
    add_checkpoint(world, job_id, 5)
    world.pause(job_id)
    world.driver(job_id).answers = False
    world.tick()
    assert world.status(job_id) is JobStatus.PAUSING, "its heartbeats tell it"
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    assert assert_paused(world, job_id).message == (
        "The job is paused. "
        "It continues from its checkpoint of step 5; the steps after it, up to step 9, are trained again."
    )


@pytest.mark.parametrize("is_new_session", [False, True])
def test_a_job_whose_driver_is_lost_while_it_pauses_is_paused_not_tried_again(world: World, is_new_session: bool):
    job_id = world.running()
    progress(world, job_id, 9)
    world.pause(job_id)
    world.cluster.crash(world.attempt(job_id).driver)
    if is_new_session:
        world.cluster.life = "session-2"
        world.coordinator = world.new_coordinator()
    world.tick()
    reason = "service_restarted" if is_new_session else "worker_crashed"
    job = assert_paused(world, job_id)
    assert job.message.startswith("The job is paused. It has no checkpoint yet and starts over.")
    assert (f"ended with {reason}" in job.message) == (not is_new_session)
    assert job.retries_used == 0


def test_a_job_that_finds_the_disk_full_while_it_pauses_goes_on_from_an_older_checkpoint(world: World):
    job_id = world.running()
    add_checkpoint(world, job_id, 5)
    world.pause(job_id)
    world.tick()
    world.stops(job_id, ReasonCode.DISK_FULL)
    assert "of step 5" in assert_paused(world, job_id).message


def test_a_job_that_fails_by_its_own_fault_while_it_pauses_has_failed(world: World):
    job_id = world.running()
    world.pause(job_id)
    world.tick()
    world.stops(job_id, ReasonCode.LOSS_DIVERGED)
    job = world.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, ReasonCode.LOSS_DIVERGED)


def test_a_job_that_is_cancelled_while_it_pauses_is_cancelled(world: World):
    job_id = world.running()
    world.pause(job_id)
    world.tick()
    world.cancel(job_id)
    world.tick(after_s=1)
    assert world.driver(job_id).stops == [StopKind.PAUSE, StopKind.CANCEL]
    world.stops(job_id, ReasonCode.USER_CANCELLED, saved_step=3)
    assert world.status(job_id) is JobStatus.CANCELLED


def test_a_cancel_gives_a_pausing_run_its_grace_time_anew(world: World):
    job_id = world.running()
    world.pause(job_id)
    world.tick()
    world.tick(after_s=60)
    world.cancel(job_id)
    world.tick()
    world.tick(after_s=6)
    assert world.status(job_id) is JobStatus.CANCELLING
    world.tick(after_s=0.1)
    assert world.status(job_id) is JobStatus.CANCELLED


def test_a_new_coordinator_carries_a_pause_on(world: World):
    job_id = world.running()
    world.pause(job_id)
    world.coordinator = world.new_coordinator()
    world.tick()
    assert world.driver(job_id).stops == [StopKind.PAUSE]


def test_a_resume_goes_on_from_the_newest_checkpoint(world: World):
    job_id = paused(world, 5, 10)
    world.resume(job_id)
    world.tick()
    plan = world.driver(job_id).plan
    assert plan is not None
    assert (plan.attempt, plan.resume_from, plan.recorded_step) == (2, None, 12)
    assert world.attempt(job_id).resumed_from_step == 10


def test_a_resume_from_an_older_checkpoint_forgets_what_came_after_it(world: World):
    job_id = paused(world, 5, 10)
    world.resume(job_id, "step-00000005")
    world.tick()
    plan = world.driver(job_id).plan
    assert plan is not None
    assert (plan.resume_from, plan.recorded_step, world.attempt(job_id).resumed_from_step) == ("step-00000005", 5, 5)
    with world.store.read() as tx:
        assert [point.step for point in tx.metrics.series(job_id)] == [1, 2, 3, 4, 5]


def test_a_resume_is_not_forgotten_by_an_attempt_that_never_ran(world: World):
    job_id = paused(world, 5, 10)
    world.resume(job_id, "step-00000005")
    world.tick()
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick()
    plan = world.driver(job_id).plan
    assert plan is not None
    assert (plan.attempt, plan.resume_from) == (3, "step-00000005")
    world.report(job_id, JobStatus.INITIALIZING, JobStatus.RUNNING)
    assert world.job(job_id).resume_from is None


def test_a_resume_whose_checkpoint_is_gone_fails_and_says_so(world: World):
    job_id = paused(world, 5)
    world.resume(job_id, "step-00000005")
    with world.store.begin() as tx:
        tx.checkpoints.remove(job_id, [5])
    world.tick()
    job = world.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, ReasonCode.CHECKPOINT_CORRUPT)
    assert "step-00000005" in job.message


def paused(world: World, *saved_steps: int) -> str:
    """A paused job that has told 12 steps."""
    job_id = world.running()
    for step in saved_steps:
        add_checkpoint(world, job_id, step)
    progress(world, job_id, 12)
    world.pause(job_id)
    world.tick()
    world.stops(job_id, ReasonCode.OK)
    return job_id

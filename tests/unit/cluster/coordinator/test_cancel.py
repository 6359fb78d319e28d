"""Cancelling a job in each status that has an attempt. (A queued job is cancelled by the API alone.)"""

import pytest

from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.world import World
from train.plan import StopKind

GRACE_S = 6.0


def assert_cancelled(world: World, job_id: str) -> None:
    job = world.job(job_id)
    assert (job.status, job.reason) == (JobStatus.CANCELLED, ReasonCode.USER_CANCELLED)
    assert world.told(job_id)[-2:] == ["cancelling", "cancelled"]
    assert world.attempt(job_id).ended_at is not None


@pytest.mark.parametrize("reached", [[], [JobStatus.INITIALIZING]], ids=["pending", "initializing"])
def test_a_job_that_has_nothing_to_save_is_cancelled_at_once(world: World, reached: list[JobStatus]):
    job_id = world.submit()
    world.tick()
    world.report(job_id, *reached)
    driver = world.attempt(job_id).driver
    world.cancel(job_id)
    world.tick()
    assert_cancelled(world, job_id)
    assert world.cluster.ended[0] == driver


def test_a_running_job_saves_first(world: World):
    job_id = world.running()
    world.cancel(job_id)
    world.tick()
    assert world.driver(job_id).stops == [StopKind.CANCEL]
    world.tick(after_s=GRACE_S - 1)
    assert world.status(job_id) is JobStatus.CANCELLING
    assert world.cluster.ended == []
    world.end_attempt(job_id, ReasonCode.USER_CANCELLED, "Stopped at step 7; a checkpoint was saved.")
    world.tick()
    assert_cancelled(world, job_id)
    assert world.attempt(job_id).message == "Stopped at step 7; a checkpoint was saved."


def test_a_running_job_that_does_not_stop_is_ended_by_force(world: World):
    job_id = world.running()
    driver = world.attempt(job_id).driver
    world.cancel(job_id)
    world.tick()
    world.tick(after_s=GRACE_S + 1)
    assert_cancelled(world, job_id)
    assert world.cluster.ended[0] == driver


def test_a_running_job_whose_driver_does_not_answer_is_ended_at_once(world: World):
    job_id = world.running()
    world.driver(job_id).answers = False
    world.cancel(job_id)
    world.tick()
    assert_cancelled(world, job_id)


def test_a_job_whose_driver_is_lost_is_cancelled_not_tried_again(world: World):
    job_id = world.running()
    world.cluster.crash(world.attempt(job_id).driver)
    world.cancel(job_id)
    world.tick()
    assert_cancelled(world, job_id)


def test_a_job_cancelled_while_its_service_was_down_is_cancelled(world: World):
    job_id = world.running()
    world.cancel(job_id)
    world.cluster.crash(world.attempt(job_id).driver)
    world.cluster.life = "session-2"
    world.coordinator = world.new_coordinator()
    world.tick()
    assert_cancelled(world, job_id)


def test_a_job_that_was_faster_than_its_cancel_is_cancelled_without_a_model(world: World):
    """The run delivered after the user cancelled: its log ends the attempt only."""
    job_id = world.running()
    world.cancel(job_id)
    world.end_attempt(job_id, ReasonCode.OK, "The job is finished.")
    world.tick()
    assert_cancelled(world, job_id)


def test_a_crash_while_cancelling_is_a_cancel(world: World):
    job_id = world.running()
    world.cancel(job_id)
    world.end_attempt(job_id, ReasonCode.WORKER_CRASHED)
    world.tick()
    assert_cancelled(world, job_id)


def test_devices_of_a_cancelled_job_are_free_for_the_next_in_the_same_tick(world: World):
    first = world.submit()
    world.tick()
    second = world.submit()
    world.cancel(first)
    world.tick()
    assert (world.status(first), world.status(second)) == (JobStatus.CANCELLED, JobStatus.PENDING)


def test_a_cancel_between_two_looks_of_one_tick_starts_nothing(world: World):
    job_id = world.submit()
    fleet = world.cluster.fleet

    def cancel_now():
        with world.store.begin() as tx:
            ref = world.job(job_id).ref
            tx.jobs.move(ref, JobStatus.CANCELLING, now=world.now)
            tx.jobs.move(ref, JobStatus.CANCELLED, now=world.now)
        return fleet()

    world.cluster.fleet = cancel_now  # type: ignore[method-assign]
    world.tick()
    assert world.status(job_id) is JobStatus.CANCELLED
    assert world.cluster.running == {}

"""A job's `time_limit_s`, over all its attempts."""

from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.cluster.coordinator.world import World, add_checkpoint


def last_until(world: World, job_id: str, lasted_s: int) -> None:
    """The run beats until its attempt has lasted so long."""
    while (world.now - world.attempt(job_id).created_at).total_seconds() < lasted_s:
        world.beat(job_id)
        world.tick(after_s=10)


def test_a_run_is_told_what_is_left(world: World):
    job_id = world.submit(time_limit_s=600)
    world.tick()
    plan = world.driver(job_id).plan
    assert plan is not None
    assert plan.time_left_s == 600
    last_until(world, job_id, 100)
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick()
    plan = world.driver(job_id).plan
    assert plan is not None
    assert plan.time_left_s == 500


def test_a_job_without_a_limit_is_told_of_none(world: World):
    job_id = world.running()
    plan = world.driver(job_id).plan
    assert plan is not None
    assert plan.time_left_s is None


def test_a_run_that_is_over_its_limit_saves_and_has_failed(world: World):
    job_id = world.running(time_limit_s=60)
    last_until(world, job_id, 50)
    assert world.status(job_id) is JobStatus.RUNNING
    last_until(world, job_id, 60)
    assert (world.job(job_id).stop_kind, world.driver(job_id).stops) == (StopKind.TIME_LIMIT, [StopKind.TIME_LIMIT])
    world.stops(job_id, ReasonCode.TIME_LIMIT, saved_step=9)
    job = world.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, ReasonCode.TIME_LIMIT)
    assert job.message == (
        "The job's time_limit_s is used up. Its checkpoint of step 9 is kept: "
        "submit it again with more time, or continue from the checkpoint with a new job."
    )


def test_a_run_that_sees_its_limit_first_ends_in_the_same_way(world: World):
    job_id = world.running(time_limit_s=60)
    world.stops(job_id, ReasonCode.TIME_LIMIT)
    job = world.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, ReasonCode.TIME_LIMIT)
    assert job.message.startswith("The job's time_limit_s was used up before its first checkpoint.")


def test_attempts_count_together(world: World):
    job_id = world.running(time_limit_s=100)
    last_until(world, job_id, 70)
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick()
    world.trains(job_id)
    last_until(world, job_id, 30)
    assert world.job(job_id).stop_kind is StopKind.TIME_LIMIT


def test_a_job_that_crashes_with_its_time_used_up_is_not_tried_again(world: World):
    job_id = world.running(time_limit_s=60)
    last_until(world, job_id, 50)
    world.now = world.attempt(job_id).created_at.replace(minute=1)
    world.end_attempt(job_id, ReasonCode.WORKER_CRASHED)
    world.tick()
    assert (world.status(job_id), world.job(job_id).reason) == (JobStatus.FAILED, ReasonCode.TIME_LIMIT)


def test_waiting_costs_no_time(world: World):
    job_id = world.running(time_limit_s=60)
    last_until(world, job_id, 20)
    world.pause(job_id)
    world.tick()
    world.stops(job_id, ReasonCode.OK)
    world.tick(after_s=3600)
    world.resume(job_id)
    world.tick()
    plan = world.driver(job_id).plan
    assert plan is not None
    assert plan.time_left_s == 40


def test_a_preempted_run_that_sees_its_limit_first_has_failed(world: World):
    low = world.running(priority=10, time_limit_s=200)
    last_until(world, low, 150)
    world.submit(priority=90)
    world.tick()
    assert world.job(low).stop_kind is StopKind.PREEMPT
    world.stops(low, ReasonCode.TIME_LIMIT, saved_step=5)
    assert world.job(low).reason is ReasonCode.TIME_LIMIT


def test_a_paused_run_at_its_limit_is_paused(world: World):
    job_id = world.running(time_limit_s=60)
    world.pause(job_id)
    last_until(world, job_id, 70)
    assert world.job(job_id).stop_kind is StopKind.PAUSE
    world.stops(job_id, ReasonCode.TIME_LIMIT, saved_step=5)
    assert world.status(job_id) is JobStatus.PAUSED


def test_a_job_with_a_limit_starts_ahead_of_one_that_waits_for_more(world: World):
    long = world.running(time_limit_s=3600, resources={"cpus_per_worker": 2})
    add_checkpoint(world, long, 1)
    waiting = world.submit()
    endless = world.submit(resources={"cpus_per_worker": 2})
    short = world.submit(time_limit_s=600, resources={"cpus_per_worker": 2})
    world.tick()
    assert [world.status(job) for job in (waiting, endless, short)] == ["queued", "queued", "pending"]

"""Jobs of higher priority take devices from others, which save and come back."""

from typing import Any

from cluster.policy import Fleet
from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.cluster.coordinator.world import World, add_checkpoint

MIN_RUN_S = 120


def low_and_high(world: World, **low: Any) -> tuple[str, str]:
    """A job that holds all cores for long enough, and one of higher priority."""
    first = world.running(priority=10, **low)
    world.tick(after_s=MIN_RUN_S)
    world.beat(first)
    return first, world.submit(priority=90)


def test_a_job_of_higher_priority_makes_a_lower_one_save_and_go_back(world: World):
    low, high = low_and_high(world)
    other = world.submit(priority=10)
    world.tick()
    job = world.job(low)
    assert (job.status, job.stop_kind, world.driver(low).stops) == (
        JobStatus.PAUSING,
        StopKind.PREEMPT,
        [StopKind.PREEMPT],
    )
    assert job.message == f"Job {high} of priority 90 needs the devices; this job saves and returns to the queue."
    assert world.job(high).waiting_for == f"Waiting for 4 CPU cores; {low} saves its work and makes room."
    world.stops(low, ReasonCode.PREEMPTED, saved_step=7)
    assert [world.status(name) for name in (low, high, other)] == ["queued", "pending", "queued"]
    job = world.job(low)
    assert job.message == (
        "Queued again after preempted: a job of higher priority needed the devices. "
        "It continues from its checkpoint of step 7."
    )
    assert (job.retries_used, world.attempt(low).reason) == (0, ReasonCode.PREEMPTED)


def test_it_comes_back_at_the_head_of_its_priority(world: World):
    low, high = low_and_high(world)
    earlier = world.submit(priority=10)
    world.tick()
    world.stops(low, ReasonCode.PREEMPTED, saved_step=7)
    world.end_attempt(high, ReasonCode.CONFIG_INVALID)
    world.tick(after_s=1)
    assert (world.status(low), world.status(earlier)) == (JobStatus.PENDING, JobStatus.QUEUED)
    assert world.attempt(low).resumed_from_step == 7


def test_a_run_is_left_alone_for_its_first_two_minutes(world: World):
    low = world.running(priority=10)
    world.submit(priority=90)
    world.tick(after_s=MIN_RUN_S - 1)
    assert world.status(low) is JobStatus.RUNNING
    world.beat(low)
    world.tick(after_s=1)
    assert world.status(low) is JobStatus.PAUSING


def test_the_settings_say_how_long_a_run_is_left_alone(world: World):
    world.settings = world.settings.model_copy(update={"preemption_min_run_s": 5})
    world.coordinator = world.new_coordinator()
    low = world.running(priority=10)
    world.submit(priority=90)
    world.tick(after_s=4)
    assert world.status(low) is JobStatus.RUNNING
    world.tick(after_s=1)
    assert world.status(low) is JobStatus.PAUSING


def test_a_job_that_is_not_preemptible_is_left_alone(world: World):
    low, high = low_and_high(world, preemptible=False)
    world.tick()
    assert (world.status(low), world.job(high).waiting_for) == (
        JobStatus.RUNNING,
        "Waiting for 4 CPU cores; none is free.",
    )


def test_the_one_that_saved_last_makes_room(world: World):
    first, second = (world.running(priority=10, resources={"cpus_per_worker": 2}) for _ in range(2))
    world.tick(after_s=MIN_RUN_S)
    world.beat(first, second)
    add_checkpoint(world, second, 5)
    world.tick(after_s=1)
    world.submit(priority=90, resources={"cpus_per_worker": 1})
    world.tick()
    assert (world.status(first), world.status(second)) == (JobStatus.RUNNING, JobStatus.PAUSING)


def test_nobody_else_is_asked_while_one_is_stopping(world: World):
    first, second = (world.running(priority=10, resources={"cpus_per_worker": 2}) for _ in range(2))
    world.tick(after_s=MIN_RUN_S)
    world.beat(first, second)
    world.submit(priority=90, resources={"cpus_per_worker": 2})
    for _ in range(4):
        world.tick(after_s=1)
    assert sorted([world.status(first), world.status(second)]) == ["pausing", "running"]


def test_a_user_who_pauses_it_meanwhile_has_the_last_word(world: World):
    low, _ = low_and_high(world)
    world.tick()
    world.pause(low)
    world.tick(after_s=1)
    assert world.driver(low).stops == [StopKind.PREEMPT, StopKind.PAUSE]
    world.stops(low, ReasonCode.PREEMPTED, saved_step=7)
    assert world.status(low) is JobStatus.PAUSED


def test_a_preempted_job_whose_driver_is_lost_is_not_charged(world: World):
    low, high = low_and_high(world)
    world.tick()
    world.cluster.crash(world.attempt(low).driver)
    world.tick(after_s=1)
    assert (world.status(low), world.job(low).retries_used) == (JobStatus.QUEUED, 0)
    assert world.status(high) is JobStatus.PENDING


def test_a_job_that_finishes_before_it_has_made_room_is_finished(world: World):
    low, high = low_and_high(world)
    world.tick()
    with world.store.begin() as tx:
        ref = world.job(low).ref
        tx.attempts.end(ref, reason=ReasonCode.OK, message="Done.", now=world.now)
        tx.jobs.move(ref, JobStatus.COMPLETED, now=world.now)
    world.tick(after_s=1)
    assert (world.status(low), world.status(high)) == (JobStatus.COMPLETED, JobStatus.PENDING)


def test_a_run_whose_machine_is_going_away_comes_back_at_the_head_too(world: World):
    first = world.running()
    waiting = world.submit()
    world.stops(first, ReasonCode.PREEMPTED, saved_step=4)
    assert (world.status(first), world.status(waiting)) == (JobStatus.PENDING, JobStatus.QUEUED)


def test_a_share_of_a_gpu_makes_room(world: World):
    world.cluster.given = Fleet.of_one(8, 1)
    first = world.running(priority=10, resources={"gpus_per_worker": 0.5})
    second = world.running(priority=50, resources={"gpus_per_worker": 0.5})
    world.tick(after_s=MIN_RUN_S)
    world.beat(first, second)
    world.submit(priority=40, resources={"gpus_per_worker": 0.25})
    world.tick()
    assert (world.status(first), world.status(second)) == (JobStatus.PAUSING, JobStatus.RUNNING)

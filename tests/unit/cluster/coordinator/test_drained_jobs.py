"""The service goes down: every run saves, and nothing new starts."""

from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.cluster.coordinator.world import World

GRACE_S = 6.0


def test_runs_save_and_their_jobs_are_queued_again(world: World):
    job_id = world.running()
    world.coordinator.drain()
    world.tick()
    job = world.job(job_id)
    assert (job.status, job.stop_kind, world.driver(job_id).stops) == (
        JobStatus.PAUSING,
        StopKind.DRAIN,
        [StopKind.DRAIN],
    )
    assert not world.coordinator.is_drained()
    world.stops(job_id, ReasonCode.SERVICE_RESTARTED, saved_step=7)
    assert world.job(job_id).message == (
        "Queued again after service_restarted: the service was stopped. It continues from its checkpoint of step 7."
    )
    assert (world.status(job_id), world.job(job_id).retries_used) == (JobStatus.QUEUED, 0)
    world.tick(after_s=1)
    assert world.coordinator.is_drained()
    assert world.status(job_id) is JobStatus.QUEUED


def test_nothing_new_is_started(world: World):
    world.keep_standby()
    job_id = world.submit()
    world.coordinator.drain()
    world.tick()
    world.tick(after_s=60)
    assert (world.status(job_id), world.cluster.running) == (JobStatus.QUEUED, {})


def test_the_standby_run_is_ended(world: World):
    world.keep_standby()
    world.tick()
    assert len(world.cluster.running) == 1
    world.coordinator.drain()
    world.tick()
    assert world.cluster.running == {}


def test_a_service_without_runs_is_drained_by_the_next_tick(world: World):
    world.coordinator.drain()
    assert not world.coordinator.is_drained()
    world.tick()
    assert world.coordinator.is_drained()


def test_a_run_that_has_nothing_to_save_is_ended_at_once(world: World):
    job_id = world.submit()
    world.tick()
    world.coordinator.drain()
    world.tick()
    assert (world.status(job_id), world.cluster.running) == (JobStatus.QUEUED, {})


def test_a_run_that_does_not_stop_is_ended_by_force(world: World):
    job_id = world.running()
    world.coordinator.drain()
    world.tick()
    world.tick(after_s=GRACE_S)
    assert world.status(job_id) is JobStatus.PAUSING
    world.tick(after_s=0.1)
    world.tick()
    assert (world.status(job_id), world.coordinator.is_drained()) == (JobStatus.QUEUED, True)
    assert world.attempt(job_id).reason is ReasonCode.SERVICE_RESTARTED


def test_a_pause_gets_no_longer_than_a_drain(world: World):
    job_id = world.running()
    world.pause(job_id)
    world.tick()
    world.tick(after_s=60)
    world.coordinator.drain()
    world.tick()
    world.tick(after_s=GRACE_S)
    assert world.status(job_id) is JobStatus.PAUSING
    world.tick(after_s=0.1)
    assert world.status(job_id) is JobStatus.PAUSED


def test_what_users_want_goes_before_the_drain(world: World):
    paused, cancelled = (world.running(resources={"cpus_per_worker": 2}) for _ in range(2))
    world.pause(paused)
    world.cancel(cancelled)
    world.coordinator.drain()
    world.tick()
    assert (world.driver(paused).stops, world.driver(cancelled).stops) == ([StopKind.PAUSE], [StopKind.CANCEL])
    world.stops(paused, ReasonCode.OK)
    world.stops(cancelled, ReasonCode.USER_CANCELLED)
    world.tick()
    assert (world.status(paused), world.status(cancelled)) == (JobStatus.PAUSED, JobStatus.CANCELLED)
    assert world.coordinator.is_drained()


def test_the_next_life_of_the_service_goes_on_in_the_old_order(world: World):
    first = world.running()
    second = world.submit()
    world.coordinator.drain()
    world.tick()
    world.stops(first, ReasonCode.SERVICE_RESTARTED, saved_step=7)
    world.cluster.running.clear()
    world.cluster.life = "session-2"
    world.coordinator = world.new_coordinator()
    world.tick()
    assert (world.status(first), world.status(second)) == (JobStatus.PENDING, JobStatus.QUEUED)
    assert world.attempt(first).resumed_from_step == 7

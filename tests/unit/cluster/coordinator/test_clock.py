"""A clock that is set back by an hour while jobs run."""

from datetime import timedelta

from cluster.coordinator.coordinator import LEASE_TTL_S
from cluster.coordinator.ended_attempts import ORPHAN_GRACE_S
from cluster.coordinator.stop_requests import HEARTBEAT_TIMEOUT_S
from cluster.policy import Fleet
from cluster.runs.run_limits import lasted_s
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.world import World
from tracking.store.leases import COORDINATOR

BACK_S = -3600.0


def test_a_cancel_is_enforced_after_its_grace_time(world: World):
    job_id = world.running()
    world.cancel(job_id)
    world.tick()
    world.tick(after_s=BACK_S)
    assert world.status(job_id) is JobStatus.CANCELLING
    world.tick(after_s=world.settings.stop_grace_s + 1)
    assert world.status(job_id) is JobStatus.CANCELLED


def test_the_lease_is_renewed(world: World):
    world.tick()
    world.tick(after_s=BACK_S)
    with world.store.read() as tx:
        lease = tx.leases.current(COORDINATOR)
    assert lease is not None
    assert lease.expires_at == world.now + timedelta(seconds=LEASE_TTL_S)


def test_a_lost_machine_is_noticed(world: World):
    job_id = world.running(resources={"cpus_per_worker": 1})
    world.tick(after_s=5)
    world.tick(after_s=BACK_S)
    world.cluster.given = Fleet(())
    world.tick(after_s=3)
    assert world.attempt(job_id).reason is ReasonCode.NODE_LOST


def test_a_driver_without_an_attempt_is_ended(world: World):
    job_id = world.running()
    driver = world.attempt(job_id).driver
    with world.store.begin() as tx:
        assert tx.attempts.end(world.job(job_id).ref, reason=ReasonCode.WORKER_CRASHED, message=None, now=world.now)
    world.tick()
    world.tick(after_s=BACK_S)
    assert driver not in world.cluster.ended
    world.tick(after_s=ORPHAN_GRACE_S + 1)
    assert driver in world.cluster.ended


def test_a_driver_that_hangs_is_noticed(world: World):
    job_id = world.running()
    world.driver(job_id).answers = False
    world.tick(after_s=BACK_S)
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    assert world.attempt(job_id).reason is ReasonCode.WORKER_CRASHED


def test_a_run_that_reports_is_left_alone(world: World):
    job_id = world.running()
    world.tick(after_s=BACK_S)
    for _ in range(3):
        world.beat(job_id)
        world.tick(after_s=HEARTBEAT_TIMEOUT_S - 1)
    assert world.status(job_id) is JobStatus.RUNNING


def test_what_an_ended_attempt_holds_is_released(world: World):
    job_id = world.running()
    with world.store.begin() as tx:
        tx.attempts.set_processes(world.job(job_id).ref, placement_groups=["aa"])
    world.end_attempt(job_id, ReasonCode.LOSS_DIVERGED)
    world.tick()
    world.tick(after_s=BACK_S)
    with world.store.read() as tx:
        assert tx.attempts.unreleased() == []


def test_an_adjusted_clock_forgets_nothing(world: World):
    job_id = world.running()
    world.cancel(job_id)
    world.tick()
    world.tick(after_s=world.settings.stop_grace_s - 1)
    world.tick(after_s=-0.5)
    world.tick(after_s=2)
    assert world.status(job_id) is JobStatus.CANCELLED


def test_an_attempt_never_lasts_less_than_no_time(world: World):
    job_id = world.running(time_limit_s=600)
    world.tick(after_s=BACK_S)
    assert lasted_s([world.attempt(job_id)], world.now) == 0
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick()
    plan = world.driver(job_id).plan
    assert plan is not None
    assert plan.time_left_s == 600
    with world.store.read() as tx:
        assert tx.usage.all(now=world.now).get("local", 0.0) >= 0

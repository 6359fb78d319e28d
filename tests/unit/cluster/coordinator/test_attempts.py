"""What the coordinator does about attempts: lost and silent drivers, retries, orphans, its own lease."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.coordinator.coordinator import run_forever
from cluster.coordinator.ended_attempts import ORPHAN_GRACE_S
from cluster.coordinator.live_attempts import NODES_INTERVAL_S
from cluster.coordinator.stop_requests import HEARTBEAT_TIMEOUT_S
from cluster.coordinator.tick_timer import INTERVAL_S
from cluster.policy import Fleet, Node
from cluster.policy.retry import FIRST_BACKOFF_S
from cluster.runs.model_location import job_folder
from ftlab.errors import ServiceUnavailableError
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.world import World, locked
from tracking.store import StaleJobError


def test_a_run_that_beats_is_left_alone(world: World):
    job_id = world.running()
    for _ in range(5):
        world.beat(job_id)
        world.tick(after_s=20)
    assert world.status(job_id) is JobStatus.RUNNING
    assert world.cluster.ended == []


def test_a_lost_driver_is_a_crash_that_is_tried_again(world: World):
    job_id = world.running()
    world.cluster.crash(world.attempt(job_id).driver)
    world.tick()
    job, attempt = world.job(job_id), world.attempt(job_id)
    assert (attempt.reason, attempt.ended_at) == (ReasonCode.WORKER_CRASHED, world.now)
    assert (job.status, job.retries_used) == (JobStatus.QUEUED, 1)
    assert job.message.startswith("Queued again after worker_crashed: ")
    world.tick(after_s=0.5)
    assert world.status(job_id) is JobStatus.QUEUED
    world.tick(after_s=0.5)
    assert (world.status(job_id), world.attempt(job_id).driver) == (JobStatus.PENDING, f"run-{job_id}-2")
    assert world.told(job_id) == ["queued", "pending", "initializing", "running", "queued", "pending"]


@pytest.mark.parametrize("is_up", [False, True])
def test_a_run_whose_machine_is_gone_goes_to_another_and_pays_nothing(world: World, is_up: bool):
    """Also one that was given a machine which had died unseen: it would wait for it for ever."""
    nodes = Node("m1", 4, 0), Node("m2", 4, 0)
    world.cluster.given = Fleet(nodes)
    job_id = world.submit()
    world.tick()
    if is_up:
        world.trains(job_id)
    [(lost, _)] = world.attempt(job_id).placement
    world.tick(after_s=NODES_INTERVAL_S + 1)
    assert world.attempt(job_id).reason is None
    world.cluster.given = Fleet(tuple(node for node in nodes if node.id != lost))
    world.tick(after_s=NODES_INTERVAL_S + 1)
    first, second = world.attempts(job_id)
    assert (first.reason, second.reason) == (ReasonCode.NODE_LOST, None)
    assert world.cluster.ended == [first.driver]
    assert [node for node, _ in second.placement] != [lost]
    assert (world.status(job_id), world.job(job_id).retries_used) == (JobStatus.PENDING, 0)


def test_a_machine_that_has_just_come_is_not_taken_for_a_lost_one(world: World):
    world.running()
    world.tick(after_s=NODES_INTERVAL_S + 1)
    world.cluster.given = Fleet((*world.cluster.given.nodes, Node("new", 4, 0)))
    job_id = world.submit()
    world.tick(after_s=1)
    assert [node for node, _ in world.attempt(job_id).placement] == ["new"]
    world.tick()
    assert world.attempt(job_id).reason is None


def test_a_driver_lost_with_its_cluster_is_not_counted(world: World):
    job_id = world.running()
    world.cluster.crash(world.attempt(job_id).driver)
    world.cluster.life = "session-2"
    world.coordinator = world.new_coordinator()
    world.tick()
    first, second = world.attempts(job_id)
    assert (first.reason, second.reason) == (ReasonCode.SERVICE_RESTARTED, None)
    assert (world.status(job_id), world.job(job_id).retries_used) == (JobStatus.PENDING, 0)


def test_a_job_whose_service_was_restarted_keeps_its_place_in_the_queue(world: World):
    running = world.running()
    waiting = world.submit()
    world.cluster.crash(world.attempt(running).driver)
    world.cluster.life = "session-2"
    world.coordinator = world.new_coordinator()
    world.tick()
    assert (world.status(running), world.status(waiting)) == (JobStatus.PENDING, JobStatus.QUEUED)


def test_a_restart_is_known_until_a_tick_has_dealt_with_it(world: World, database):
    """The first tick after the restart finds the lease but then no database."""
    job_id = world.running()
    world.cluster.crash(world.attempt(job_id).driver)
    world.cluster.life = "session-2"
    world.coordinator = world.new_coordinator()
    with locked_after_lease(world, database), pytest.raises(ServiceUnavailableError):
        world.tick()
    world.tick()
    assert world.attempts(job_id)[0].reason is ReasonCode.SERVICE_RESTARTED


def test_a_new_coordinator_in_the_same_cluster_goes_on(world: World):
    job_id = world.running()
    queued = world.submit()
    world.coordinator = world.new_coordinator()
    world.tick()
    assert (world.status(job_id), world.status(queued)) == (JobStatus.RUNNING, JobStatus.QUEUED)
    world.cluster.crash(world.attempt(job_id).driver)
    world.tick()
    assert world.attempt(job_id).reason is ReasonCode.WORKER_CRASHED


def test_a_job_is_given_up_when_its_retries_are_spent(world: World):
    job_id = world.submit(max_retries=2)
    for _ in range(3):
        world.tick(after_s=60)
        world.end_attempt(job_id, ReasonCode.WORKER_CRASHED, "Signal 11.")
        world.tick()
    job = world.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, ReasonCode.RETRY_BUDGET_EXHAUSTED)
    assert job.message == "Tried 3 times; the last attempt ended with worker_crashed: Signal 11."
    world.tick(after_s=60)
    assert world.attempt(job_id).number == 3


def test_a_job_whose_fault_is_its_own_is_not_tried_again(world: World):
    job_id = world.running()
    world.end_attempt(job_id, ReasonCode.LOSS_DIVERGED, "The loss became nan at step 3.")
    world.tick()
    job = world.job(job_id)
    assert (job.status, job.reason, job.message) == (
        JobStatus.FAILED,
        ReasonCode.LOSS_DIVERGED,
        "The loss became nan at step 3.",
    )
    assert job.finished_at == world.now


def test_a_retry_keeps_its_place_in_the_queue(world: World):
    first = world.running()
    second = world.submit()
    world.end_attempt(first, ReasonCode.WORKER_CRASHED)
    world.tick()
    assert (world.status(first), world.status(second)) == (JobStatus.QUEUED, JobStatus.PENDING)
    third = world.submit()
    world.tick(after_s=1)
    world.end_attempt(second, ReasonCode.CONFIG_INVALID)
    world.tick()
    assert (world.status(first), world.status(third)) == (JobStatus.PENDING, JobStatus.QUEUED)


def test_a_silent_driver_that_comes_back_is_left_alone(world: World):
    job_id = world.running()
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    world.tick(after_s=HEARTBEAT_TIMEOUT_S - 1)
    world.beat(job_id)
    world.tick()
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    world.tick(after_s=HEARTBEAT_TIMEOUT_S - 1)
    assert world.status(job_id) is JobStatus.RUNNING


def test_a_driver_that_answers_but_writes_nothing_is_ended_in_the_end(world: World):
    job_id = world.running()
    driver = world.attempt(job_id).driver
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    assert world.status(job_id) is JobStatus.RUNNING
    world.tick(after_s=HEARTBEAT_TIMEOUT_S)
    assert world.cluster.ended[0] == driver
    assert (world.status(job_id), world.attempt(job_id).reason) == (JobStatus.QUEUED, ReasonCode.WORKER_CRASHED)


def test_a_driver_that_does_not_answer_is_ended_at_once(world: World):
    job_id = world.running()
    world.driver(job_id).answers = False
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    assert world.attempt(job_id).reason is ReasonCode.WORKER_CRASHED


def test_a_driver_that_ended_without_a_word_is_ended_at_once(world: World):
    job_id = world.running()
    world.driver(job_id).state = "ended"
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    assert world.attempt(job_id).reason is ReasonCode.WORKER_CRASHED


def test_a_standby_run_that_never_got_its_plan_gets_it_late(world: World):
    job_id, standby = promised(world)
    world.coordinator = world.new_coordinator()
    world.tick()
    assert world.cluster.running[standby].plan is None
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    plan = world.cluster.running[standby].plan
    assert plan is not None
    assert (plan.job_id, plan.attempt) == (job_id, 1)
    assert world.status(job_id) is JobStatus.PENDING


def test_a_late_plan_is_no_trouble_when_the_machine_has_become_smaller(world: World):
    job_id, _ = promised(world)
    world.cluster.given = Fleet.of_one(1)
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    assert world.driver(job_id).state == "taken"


def test_a_standby_run_that_refuses_its_late_plan_is_ended(world: World):
    job_id, standby = promised(world)
    world.cluster.running[standby].takes_jobs = False
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    assert world.attempt(job_id).reason is ReasonCode.WORKER_CRASHED
    assert standby not in world.cluster.running


def test_an_attempt_whose_job_moved_on_is_ended(world: World):
    job_id = world.running()
    world.report(job_id, JobStatus.QUEUED)
    driver = world.attempt(job_id).driver
    world.tick()
    with world.store.read() as tx:
        first, second = tx.attempts.of_job(job_id)
    assert (first.reason, second.ended_at) == (ReasonCode.INTERNAL_ERROR, None)
    assert world.cluster.ended == [driver]


def test_a_run_that_delivered_gets_a_moment_to_end(world: World):
    job_id = world.running()
    driver = world.attempt(job_id).driver
    with world.store.begin() as tx:
        ref = world.job(job_id).ref
        tx.attempts.end(ref, reason=ReasonCode.OK, message="Done.", now=world.now)
        tx.jobs.move(ref, JobStatus.COMPLETED, now=world.now)
    world.tick()
    world.tick(after_s=ORPHAN_GRACE_S)
    assert world.cluster.ended == []
    world.tick(after_s=1)
    assert world.cluster.ended == [driver]
    assert world.status(job_id) is JobStatus.COMPLETED


def test_a_run_that_ended_is_cleared_away_at_once(world: World):
    job_id = world.running()
    driver = world.attempt(job_id).driver
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick()
    assert world.cluster.ended == [driver]


def test_a_run_that_nobody_knows_is_ended(world: World):
    world.cluster.launch("run-job-unknown-1", None, None)
    world.cluster.running["run-job-unknown-1"].state = "taken"
    world.tick()
    world.tick(after_s=ORPHAN_GRACE_S + 1)
    assert world.cluster.running == {}


def test_a_waiting_standby_run_is_no_orphan(world: World):
    world.keep_standby()
    world.tick()
    [driver] = world.cluster.running.values()
    driver.state = "ready"
    world.tick(after_s=ORPHAN_GRACE_S + 1)
    world.tick(after_s=ORPHAN_GRACE_S + 1)
    assert world.cluster.ended == []


def test_the_reservation_of_a_crashed_run_is_given_back(world: World):
    job_id = world.running()
    reserve(world, job_id, "aa", "bb")
    world.cluster.crash(world.attempt(job_id).driver)
    world.tick()
    assert {"aa", "bb"} <= set(world.cluster.released)


def test_a_reservation_is_given_back_once_more_after_the_run_had_time_to_end(world: World):
    """The driver that gives back its own reservation may be killed before it does."""
    job_id = world.running()
    reserve(world, job_id, "aa")
    with world.store.begin() as tx:
        ref = world.job(job_id).ref
        tx.attempts.end(ref, reason=ReasonCode.OK, message="Done.", now=world.now)
        tx.jobs.move(ref, JobStatus.COMPLETED, now=world.now)
    world.tick(after_s=ORPHAN_GRACE_S)
    assert world.cluster.released == []
    world.tick(after_s=1)
    assert world.cluster.released == ["aa"]
    world.tick(after_s=60)
    assert world.cluster.released == ["aa"]
    assert world.attempt(job_id).placement_groups == ()


def half_written(world: World, job_id: str) -> Path:
    folder = job_folder(world.settings, job_id) / "checkpoints" / ".tmp-1" / "checkpoint-5"
    folder.mkdir(parents=True)
    return folder


def test_half_a_checkpoint_of_a_job_that_will_not_run_again_is_swept(world: World):
    job_id = world.running()
    reserve(world, job_id, "aa")
    left = half_written(world, job_id)
    world.cluster.crash(world.attempt(job_id).driver)
    world.cancel(job_id)
    world.tick()
    assert left.exists(), "its processes may still be at it"
    world.tick(after_s=ORPHAN_GRACE_S + 1)
    assert not left.parent.exists()


def test_what_the_next_attempt_writes_is_not_swept(world: World):
    job_id = world.running()
    reserve(world, job_id, "aa")
    world.cluster.crash(world.attempt(job_id).driver)
    world.tick()
    world.tick(after_s=FIRST_BACKOFF_S)
    assert world.attempt(job_id).number == 2
    written = half_written(world, job_id)
    world.tick(after_s=ORPHAN_GRACE_S + 1)
    assert world.attempt(job_id).ended_at is None
    assert written.exists()


def test_what_an_attempt_left_is_swept_though_the_next_one_never_came_up(world: World):
    job_id = world.running()
    reserve(world, job_id, "aa")
    left = half_written(world, job_id)
    world.cluster.crash(world.attempt(job_id).driver)
    world.tick()
    world.tick(after_s=FIRST_BACKOFF_S)
    world.tick(after_s=ORPHAN_GRACE_S + 1)
    assert left.exists(), "the next attempt might have processes"
    world.cancel(job_id)
    world.tick()
    world.tick(after_s=ORPHAN_GRACE_S + 1)
    assert (world.status(job_id), world.attempt(job_id).number) == (JobStatus.CANCELLED, 2)
    assert not left.parent.exists()


def test_an_older_coordinator_is_fenced(world: World):
    older = world.coordinator
    older.tick()
    world.coordinator = world.new_coordinator()
    world.tick()
    job_id = world.submit()
    lost = world.submit()
    with pytest.raises(StaleJobError):
        older.tick()
    assert [world.status(job) for job in (job_id, lost)] == [JobStatus.QUEUED] * 2
    assert world.cluster.running == {}
    world.tick()
    assert world.status(job_id) is JobStatus.PENDING


def test_a_coordinator_that_is_overtaken_within_its_tick_claims_nothing(world: World):
    older = world.coordinator
    older.tick()
    job_id = world.submit()
    newer = world.new_coordinator()
    fleet = world.cluster.fleet

    def overtaken():
        newer._hold_lease(world.now)
        return fleet()

    world.cluster.fleet = overtaken  # type: ignore[method-assign]
    older.tick()
    assert world.status(job_id) is JobStatus.QUEUED
    assert world.cluster.running == {}


def test_the_loop_survives_a_tick_that_fails(world: World, database, caplog: pytest.LogCaptureFixture):
    waits: list[float] = []

    class Stop(BaseException):
        pass

    def pause(tick_s: float, interval_s: float) -> None:
        waits.append(interval_s)
        if len(waits) == 2:
            raise Stop

    with locked(database), caplog.at_level(logging.ERROR), pytest.raises(Stop):
        run_forever(world.coordinator, pause)
    assert caplog.text.count("A tick failed") == 2
    assert waits == [INTERVAL_S] * 2


def promised(world: World) -> tuple[str, str]:
    """A job that is claimed for a standby run which was never told: the coordinator died between the two."""
    world.keep_standby()
    world.tick()
    [standby] = world.cluster.running
    job_id = world.submit()

    def die(name: str) -> None:
        raise KeyboardInterrupt

    world.cluster.on_assign = die
    with pytest.raises(KeyboardInterrupt):
        world.tick()
    world.cluster.on_assign = None
    return job_id, standby


def reserve(world: World, job_id: str, *groups: str) -> None:
    with world.store.begin() as tx:
        tx.attempts.set_processes(world.job(job_id).ref, placement_groups=groups)


@contextlib.contextmanager
def locked_after_lease(world: World, database: Path) -> Iterator[None]:
    """The database is locked from the moment on at which the coordinator has its lease."""
    drivers = world.cluster.drivers
    with contextlib.ExitStack() as stack:

        def lock_then_list() -> set[str]:
            stack.enter_context(locked(database))
            return drivers()

        world.cluster.drivers = lock_then_list  # type: ignore[method-assign]
        yield
    world.cluster.drivers = drivers  # type: ignore[method-assign]

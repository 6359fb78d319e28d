"""From the queue to a run: order, devices, standby runs, and jobs that cannot be started."""

import pytest

from cluster.coordinator.start_jobs import STANDBY_LEAD_S, STANDBY_RETRY_S
from cluster.names import STANDBY_PREFIX
from cluster.policy import Fleet, WorkerShape
from ftlab.errors import ServiceUnavailableError
from ftlab.status import JobStatus, ReasonCode
from tests.support.databases import change_config
from tests.unit.cluster.coordinator.world import World, add_checkpoint, locked, make_dataset
from train.plan import DataFile


def test_a_job_is_started_with_its_devices_and_its_plan(world: World):
    job_id = world.submit(resources={"cpus_per_worker": 3})
    world.tick()
    job, attempt, driver = world.job(job_id), world.attempt(job_id), world.driver(job_id)
    assert (job.status, job.attempt, attempt.number) == (JobStatus.PENDING, 1, 1)
    assert attempt.driver == f"run-{job_id}-1"
    assert (attempt.cpus, attempt.gpus, attempt.resumed_from_step) == (3, 0, None)
    assert driver.shape == WorkerShape(1, 3, 0)
    plan = driver.plan
    assert plan is not None
    assert (plan.job_id, plan.attempt, plan.model, plan.threads, plan.use_cuda) == (job_id, 1, "org/name", 3, False)
    rows = world.settings.home / "buckets/training-files" / make_dataset().canonical
    assert plan.train_files == (DataFile("ds-1", rows),)
    assert plan.job_folder == world.settings.home / "jobs" / job_id


def test_followers_are_told_of_the_start(world: World):
    job_id = world.submit()
    world.tick()
    assert [(event["job_id"], event["seq"], event["data"]["status"]) for event in world.hub.events] == [
        (job_id, 2, "pending")
    ]


def test_a_job_on_gpus_trains_on_them(world: World):
    world.cluster.given = Fleet.of_one(4, 2)
    job_id = world.submit(resources={"num_workers": 2})
    world.tick()
    driver = world.driver(job_id)
    assert driver.shape == WorkerShape(2, 1, 1)
    assert world.attempt(job_id).gpus == 2
    assert driver.plan is not None
    assert driver.plan.use_cuda


def test_the_queue_is_first_in_first_out(world: World):
    first, second, third = (world.submit(resources={"cpus_per_worker": 2}) for _ in range(3))
    world.tick()
    assert [world.status(job) for job in (first, second, third)] == ["pending", "pending", "queued"]
    world.tick(after_s=1)
    assert world.status(third) is JobStatus.QUEUED
    world.end_attempt(first, ReasonCode.CONFIG_INVALID)
    world.tick()
    assert [world.status(job) for job in (first, second, third)] == ["failed", "pending", "pending"]


def test_a_job_that_never_fits_fails_with_what_to_do(world: World):
    job_id = world.submit(resources={"num_workers": 5})
    other = world.submit()
    world.tick()
    job = world.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, ReasonCode.CONFIG_INVALID)
    assert job.message == "The job needs 5 CPU cores; this machine gives 4 CPU cores for training. Request less."
    assert world.status(other) is JobStatus.PENDING
    analysed, failed = (event["data"] for event in world.hub.events[:2])
    assert (analysed["code"], analysed["analysis"]["cause"]) == ("failure_analysed", "bad_config")
    assert failed["status"] == "failed"


def test_a_job_whose_base_is_gone_fails_and_holds_nobody_up(world: World):
    gone = world.submit(model="model:mdl-gone")
    other = world.submit()
    world.tick()
    job = world.job(gone)
    assert (job.status, job.reason, job.attempt) == (JobStatus.FAILED, ReasonCode.MODEL_NOT_FOUND, 0)
    assert "mdl-gone" in job.message
    world.tick()
    assert world.status(other) is JobStatus.PENDING


def test_a_job_of_another_version_that_cannot_be_read_fails_and_holds_nobody_up(world: World):
    old, other = world.submit(), world.submit()
    change_config(world.store, old, no_longer_known=1)
    world.tick()
    job = world.job(old)
    assert (job.status, job.reason) == (JobStatus.FAILED, ReasonCode.CONFIG_INVALID)
    assert job.message == "This version cannot read the job's config: no_longer_known is not a known setting."
    assert world.status(other) is JobStatus.PENDING


def test_a_run_that_ends_while_its_jobs_config_cannot_be_read_is_not_tried_again(world: World):
    job_id = world.running()
    change_config(world.store, job_id, no_longer_known=1)
    world.end_attempt(job_id, ReasonCode.WORKER_CRASHED)
    world.tick()
    job = world.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, ReasonCode.CONFIG_INVALID)
    assert job.message == "This version cannot read the job's config: no_longer_known is not a known setting."


def test_a_resumed_attempt_tells_its_checkpoint(world: World):
    job_id = world.running()
    add_checkpoint(world, job_id, 10)
    add_checkpoint(world, job_id, 20)
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick()
    world.tick(after_s=1)
    assert (world.attempt(job_id).number, world.attempt(job_id).resumed_from_step) == (2, 20)


def test_a_standby_run_is_started_when_nothing_else_is_to_do(world: World):
    world.keep_standby()
    world.tick()
    [name] = world.cluster.running
    assert name.startswith("standby-")
    assert world.cluster.running[name].plan is None
    world.tick(after_s=STANDBY_RETRY_S)
    assert list(world.cluster.running) == [name]


def test_no_standby_run_without_the_setting(world: World):
    world.tick()
    assert world.cluster.running == {}


def test_a_standby_run_that_dies_is_not_started_again_at_once(world: World):
    world.keep_standby()
    world.tick()
    [name] = world.cluster.running
    world.cluster.crash(name)
    world.tick(after_s=STANDBY_RETRY_S / 2)
    assert world.cluster.running == {}
    world.tick(after_s=STANDBY_RETRY_S / 2)
    assert len(world.cluster.running) == 1


def test_after_a_short_job_the_next_standby_run_starts_at_once(world: World):
    world.keep_standby()
    world.tick()
    job_id = world.submit()
    world.tick(after_s=1)
    world.trains(job_id)
    world.tick(after_s=1)
    world.end_attempt(job_id, ReasonCode.OK)
    world.tick(after_s=1)
    world.tick()
    assert len(standby_runs(world)) == 1


@pytest.mark.parametrize("state", ["starting", "ready"])
def test_a_standby_run_takes_the_next_job(world: World, state: str):
    world.keep_standby()
    world.tick()
    [standby] = world.cluster.running
    world.cluster.running[standby].state = state
    job_id = world.submit()
    world.tick(after_s=1)
    assert world.attempt(job_id).driver == standby
    driver = world.driver(job_id)
    assert driver.state == "taken"
    assert driver.shape == WorkerShape(1, 4, 0)
    assert driver.plan is not None
    assert (driver.plan.job_id, driver.plan.attempt) == (job_id, 1)


def test_the_next_standby_run_waits_until_the_job_has_done_a_step(world: World):
    world.keep_standby()
    world.tick()
    job_id = world.submit(resources={"cpus_per_worker": 3})
    world.tick(after_s=STANDBY_RETRY_S)
    assert len(world.cluster.running) == 1
    world.report(job_id, JobStatus.INITIALIZING, JobStatus.RUNNING)
    world.tick()
    assert len(world.cluster.running) == 1
    world.steps(job_id, 1)
    world.tick()
    assert len(world.cluster.running) == 2


def test_the_steps_of_an_attempt_before_do_not_count(world: World):
    job_id = world.running(resources={"cpus_per_worker": 3})
    world.steps(job_id, 7)
    world.end_attempt(job_id, ReasonCode.SERVICE_RESTARTED)
    world.tick()
    world.keep_standby()
    world.tick(after_s=STANDBY_RETRY_S)
    world.trains(job_id)
    num_running = len(world.cluster.running)
    world.tick(after_s=STANDBY_RETRY_S)
    assert len(world.cluster.running) == num_running
    world.steps(job_id, 8)
    world.tick(after_s=STANDBY_RETRY_S)
    assert len(world.cluster.running) == num_running + 1


def test_no_standby_run_is_started_beside_a_job_that_holds_all_cores(world: World):
    job_id = world.running()
    world.keep_standby()
    for step in (1, 9, 10):
        world.steps(job_id, step)
        world.tick(after_s=STANDBY_RETRY_S)
        assert len(world.cluster.running) == 1
    world.end_attempt(job_id, ReasonCode.OK)
    world.tick(after_s=STANDBY_RETRY_S)
    assert [name for name in world.cluster.running if name.startswith(STANDBY_PREFIX)]


def test_a_job_that_waits_gets_a_standby_run_shortly_before_its_turn(world: World):
    job_id = world.running()
    world.keep_standby()
    world.submit()
    for seconds_left, num_drivers in ((STANDBY_LEAD_S + 1, 1), (STANDBY_LEAD_S, 2)):
        world.steps(job_id, 1, eta_s=seconds_left)
        world.tick(after_s=STANDBY_RETRY_S)
        assert len(world.cluster.running) == num_drivers


def standby_runs(world: World) -> list[str]:
    return [name for name in world.cluster.running if name.startswith(STANDBY_PREFIX)]


def test_the_standby_run_ends_when_the_service_is_not_used(world: World):
    world.keep_standby()
    world.tick()
    [first] = standby_runs(world)
    world.tick(after_s=world.settings.standby_idle_s)
    assert standby_runs(world) == [first]
    world.tick(after_s=1)
    world.tick(after_s=STANDBY_RETRY_S)
    assert (standby_runs(world), world.cluster.ended) == ([], [first])


def test_a_new_dataset_starts_the_standby_run_again(world: World):
    world.keep_standby()
    world.tick()
    world.tick(after_s=world.settings.standby_idle_s + 1)
    assert not standby_runs(world)
    with world.store.begin() as tx:
        tx.datasets.add(make_dataset("ds-new"))
    world.tick()
    assert standby_runs(world)
    world.tick(after_s=world.settings.standby_idle_s)
    assert standby_runs(world)


def test_a_job_counts_as_use_until_it_ends(world: World):
    world.keep_standby()
    job_id = world.running(resources={"cpus_per_worker": 1})
    world.steps(job_id, 1)
    world.tick(after_s=world.settings.standby_idle_s + 1)
    [standby] = standby_runs(world)
    world.end_attempt(job_id, ReasonCode.OK)
    world.tick()
    world.tick(after_s=world.settings.standby_idle_s)
    assert standby_runs(world) == [standby]
    world.tick(after_s=1)
    assert not standby_runs(world)


def test_a_run_of_two_workers_is_started_beside_the_standby_run(world: World):
    world.keep_standby()
    world.tick()
    job_id = world.submit(resources={"num_workers": 2})
    world.tick()
    assert world.attempt(job_id).driver == f"run-{job_id}-1"
    assert len(world.cluster.running) == 2


def test_one_standby_run_takes_one_job(world: World):
    world.keep_standby()
    world.tick()
    first, second = (world.submit(resources={"cpus_per_worker": 2}) for _ in range(2))
    world.tick()
    assert world.attempt(first).driver.startswith("standby-")
    assert world.attempt(second).driver == f"run-{second}-1"


def test_a_standby_run_that_ends_before_it_takes_the_job_costs_a_moment(world: World):
    world.keep_standby()
    world.tick()
    [standby] = world.cluster.running
    world.cluster.running[standby].takes_jobs = False
    job_id = world.submit()
    world.tick()
    assert world.cluster.ended == [standby]
    world.tick()
    assert world.attempt(job_id).driver == f"run-{job_id}-2"
    assert (world.status(job_id), world.job(job_id).retries_used) == (JobStatus.PENDING, 0)


def test_a_standby_run_that_is_lost_while_it_takes_the_job_costs_a_moment(world: World):
    world.keep_standby()
    world.tick()
    [standby] = world.cluster.running
    world.submit()
    world.cluster.on_assign = world.cluster.crash
    world.tick()
    assert world.cluster.ended == [standby]
    world.tick()
    world.tick(after_s=1)
    [driver] = world.cluster.running.values()
    assert driver.plan is not None
    assert driver.plan.attempt == 2


def test_a_standby_run_promised_to_one_job_is_not_given_to_another(world: World):
    """The coordinator before this one died between claiming the job and handing it over."""
    world.keep_standby()
    world.tick()
    [standby] = world.cluster.running
    first = world.submit(resources={"cpus_per_worker": 2})

    def die(name: str) -> None:
        raise KeyboardInterrupt

    world.cluster.on_assign = die
    with pytest.raises(KeyboardInterrupt):
        world.tick()
    world.cluster.on_assign = None
    world.coordinator = world.new_coordinator()
    second = world.submit(resources={"cpus_per_worker": 2})
    world.tick()
    assert world.attempt(first).driver == standby
    assert world.attempt(second).driver == f"run-{second}-1"


def test_a_tick_without_database_changes_nothing_and_the_next_one_works(world: World, database):
    world.tick()
    job_id = world.submit()
    with locked(database), pytest.raises(ServiceUnavailableError):
        world.tick(after_s=1)
    assert world.status(job_id) is JobStatus.QUEUED
    assert world.cluster.running == {}
    world.tick(after_s=1)
    assert world.status(job_id) is JobStatus.PENDING

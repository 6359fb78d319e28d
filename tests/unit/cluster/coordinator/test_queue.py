"""The queue as the coordinator sees it: order, owners, quotas, devices, and what jobs are told."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from cluster.coordinator.ended_attempts import MEASURED_AFTER
from cluster.coordinator.queue_snapshot import QUEUE_WINDOW
from cluster.policy import Fleet, Node, WorkerShape
from ftlab.schemas.costs import CostGroup, EnergyCost
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.world import World
from tracking.costs import report
from tracking.store.telemetry import SeriesKey
from tracking.store.telemetry_points import from_readings
from tracking.store.usage import HALF_LIFE

ONE = {"cpus_per_worker": 1}


def statuses(world: World, *jobs: str) -> list[str]:
    return [world.status(job).value for job in jobs]


def test_the_highest_priority_is_first_whenever_it_was_submitted(world: World):
    first, low, high = world.submit(priority=50), world.submit(priority=10), world.submit(priority=90)
    world.tick()
    assert statuses(world, first, low, high) == ["queued", "queued", "pending"]


def test_a_changed_priority_counts(world: World):
    first, second = world.submit(priority=50), world.submit(priority=50)
    with world.store.begin() as tx:
        tx.jobs.set_priority(second, 60)
    world.tick()
    assert statuses(world, first, second) == ["queued", "pending"]


def test_a_job_that_was_moved_to_the_front_is_next(world: World):
    jobs = [world.submit() for _ in range(3)]
    with world.store.begin() as tx:
        tx.jobs.move_to_front(jobs[2])
    world.tick()
    assert statuses(world, *jobs) == ["queued", "queued", "pending"]


def test_owners_take_turns(world: World):
    ann = [world.submit("ann", resources=ONE) for _ in range(4)]
    bob = [world.submit("bob", resources=ONE) for _ in range(2)]
    world.tick()
    assert statuses(world, *ann) == ["pending", "pending", "queued", "queued"]
    assert statuses(world, *bob) == ["pending", "pending"]


def test_who_has_used_the_devices_waits_for_who_has_not(world: World):
    ended = world.running("ann")
    world.tick(after_s=600)
    world.beat(ended)
    world.end_attempt(ended, ReasonCode.CONFIG_INVALID)
    world.tick(after_s=1)
    with world.store.read() as tx:
        assert tx.usage.all(now=world.now) == pytest.approx({"ann": 4 * 600}, rel=1e-4)
    ann, bob = world.submit("ann"), world.submit("bob")
    world.tick()
    assert statuses(world, ann, bob) == ["queued", "pending"]


@pytest.mark.parametrize("is_ended_by_coordinator", [False, True])
def test_an_attempt_is_counted_once(world: World, is_ended_by_coordinator: bool):
    job_id = world.running("ann", max_retries=0)
    world.now += timedelta(seconds=10)
    if is_ended_by_coordinator:
        world.cluster.crash(world.attempt(job_id).driver)
    else:
        world.end_attempt(job_id, ReasonCode.CONFIG_INVALID)
    for _ in range(3):
        world.tick()
    with world.store.read() as tx:
        assert tx.usage.all(now=world.now) == {"ann": 40.0}
        [record] = tx.costs.of_jobs([job_id])[job_id]
    assert (record.owner, record.attempt, record.held_until - record.held_from) == ("ann", 1, timedelta(seconds=10))
    assert [(each.device, each.quantity, each.hours) for each in record.devices] == [("cpu", 4, Decimal("0.011111"))]


def test_gpus_are_paid_by_their_type(world: World):
    world.settings = world.settings.model_copy(update={"prices": {"H100": Decimal(36), "cpu": Decimal("0.36")}})
    world.coordinator = world.new_coordinator()
    world.cluster.given = Fleet((Node("m1", 4, 1, gpu_type="H100"),))
    job_id = world.running(max_retries=0, resources={"gpus_per_worker": 0.5})
    assert world.attempt(job_id).gpu_types == {"H100": 0.5}
    world.now += timedelta(seconds=10)
    world.end_attempt(job_id, ReasonCode.CONFIG_INVALID)
    world.tick()
    with world.store.read() as tx:
        [record] = tx.costs.of_jobs([job_id])[job_id]
    assert [(each.device, each.amount) for each in record.devices] == [
        ("cpu", Decimal("0.001")),
        ("H100", Decimal("0.05")),
    ]


def test_the_electricity_of_gpus_is_paid_once_their_samples_are_written(world: World):
    world.settings = world.settings.model_copy(update={"prices": {"kwh": Decimal("0.3")}})
    world.coordinator = world.new_coordinator()
    world.cluster.given = Fleet((Node("m1", 4, 1, gpu_type="H100"),))
    job_id = world.running(max_retries=0, resources={"gpus_per_worker": 0.5})
    readings = [((world.now + timedelta(seconds=second)).timestamp(), {"power_watts": 400.0}) for second in range(3)]
    with world.store.begin() as tx:
        tx.telemetry.add(SeriesKey("m1", "gpu-0", job_id, 1), from_readings(readings))
    world.now += timedelta(seconds=1800)
    world.end_attempt(job_id, ReasonCode.CONFIG_INVALID)
    world.tick()
    with world.store.read() as tx:
        assert tx.costs.of_jobs([job_id]) == {}
    world.now += MEASURED_AFTER + timedelta(seconds=1)
    world.tick()
    with world.store.read() as tx:
        [record] = tx.costs.of_jobs([job_id])[job_id]
    # Half of a GPU of 400 W for half an hour.
    assert record.energy == EnergyCost(kwh=Decimal("0.1"), price_per_kwh=Decimal("0.3"), amount=Decimal("0.03"))
    assert (record.amount, record.currency) == (Decimal("0.03"), "USD")
    assert report([record], CostGroup.JOB).totals[0].energy_kwh == Decimal("0.1")


def test_an_attempt_that_ends_while_no_coordinator_lives_is_counted_for_the_time_of_its_end(world: World):
    job_id = world.running("ann", max_retries=0)
    world.now += timedelta(seconds=10)
    world.end_attempt(job_id, ReasonCode.CONFIG_INVALID)
    world.now += HALF_LIFE
    for _ in range(2):
        world.coordinator = world.new_coordinator()
        world.tick()
    with world.store.read() as tx:
        assert tx.usage.all(now=world.now) == pytest.approx({"ann": 4 * 10 / 2})


def test_quotas_of_running_devices_hold(world: World):
    with world.store.begin() as tx:
        tx.quotas.set("ann", max_running_cpus=2)
    ann = [world.submit("ann", resources=ONE) for _ in range(3)]
    bob = world.submit("bob", resources=ONE)
    world.tick()
    assert statuses(world, *ann, bob) == ["pending", "pending", "queued", "pending"]
    assert world.job(ann[2]).waiting_for == (
        "Waiting for the quota: jobs of this owner may use 2 CPU cores at once and are using 2."
    )
    world.end_attempt(ann[0], ReasonCode.CONFIG_INVALID)
    world.tick(after_s=1)
    assert world.status(ann[2]) is JobStatus.PENDING


def test_the_settings_give_the_quota_of_who_has_none_and_weights_hold(world: World):
    world.settings = world.settings.model_copy(update={"quota_running_cpus": 1})
    world.coordinator = world.new_coordinator()
    with world.store.begin() as tx:
        tx.quotas.set("bob", max_running_cpus=3, weight=2.0)
    ann = [world.submit("ann", resources=ONE) for _ in range(2)]
    bob = [world.submit("bob", resources=ONE) for _ in range(3)]
    world.tick()
    assert statuses(world, *ann) == ["pending", "queued"]
    assert statuses(world, *bob) == ["pending", "pending", "pending"]


def test_jobs_are_told_what_they_wait_for(world: World):
    world.running(resources={"cpus_per_worker": 3})
    first, second = world.submit(), world.submit()
    world.tick(after_s=1)
    assert world.job(first).waiting_for == "Waiting for 4 CPU cores; 1 is free."
    assert world.job(second).waiting_for == "Waiting for 1 job ahead of it."


def test_what_jobs_wait_for_is_written_when_it_changes_and_not_all_the_time(world: World):
    job_id = world.running()
    waiting = [world.submit() for _ in range(3)]
    world.tick(after_s=1)
    with world.store.begin() as tx:
        tx.jobs.set_waiting({waiting[2]: "Nothing has changed."})
    world.tick()
    assert world.job(waiting[2]).waiting_for == "Nothing has changed.", "the last time was less than a second ago"
    world.tick(after_s=1)
    assert world.job(waiting[2]).waiting_for == "Waiting for 2 jobs ahead of it."
    world.end_attempt(job_id, ReasonCode.CONFIG_INVALID)
    world.tick(after_s=1)
    assert [world.job(name).waiting_for for name in waiting] == [
        None,
        "Waiting for 4 CPU cores; none is free.",
        "Waiting for 1 job ahead of it.",
    ]


def test_a_long_queue_is_told_as_far_as_it_is_looked_at(world: World):
    world.running()
    waiting = [world.submit() for _ in range(QUEUE_WINDOW + 2)]
    world.tick(after_s=1)
    told = [world.job(name).waiting_for for name in waiting]
    assert told[QUEUE_WINDOW - 1] == f"Waiting for {QUEUE_WINDOW - 1} jobs ahead of it."
    assert told[QUEUE_WINDOW:] == [None, None]


def test_the_window_is_shared_by_the_owners(world: World):
    for number in range(60):
        world.submit("ann")
        world.submit("bob" if number % 2 else "cid")
    world.tick()
    world.tick(after_s=1)
    with world.store.read() as tx:
        told = [job.owner for job in tx.jobs.queued() if job.waiting_for]
    assert 90 <= len(told) <= QUEUE_WINDOW + 3
    assert {owner: told.count(owner) for owner in ("bob", "cid")} == {"bob": 30, "cid": 30}


def test_shares_of_a_gpu_run_side_by_side(world: World):
    world.cluster.given = Fleet.of_one(8, 2)
    half: dict[str, Any] = {"gpus_per_worker": 0.5}
    jobs = [world.submit(resources=half), world.submit(resources=half), world.submit(), world.submit(resources=half)]
    world.tick()
    assert statuses(world, *jobs) == ["pending", "pending", "pending", "queued"]
    assert [world.attempt(job).placement for job in jobs[:3]] == [(("node", 0),), (("node", 0),), (("node", 1),)]
    plan = world.driver(jobs[0]).plan
    assert plan is not None
    assert (plan.gpu_fraction, plan.use_cuda) == (0.5, True)
    assert (world.attempt(jobs[0]).gpus, world.driver(jobs[0]).shape) == (0.5, WorkerShape(1, 1, 0.5))


def test_where_runs_sit_is_known_to_the_next_coordinator(world: World):
    """Two halves of different GPUs are no GPU: which ones are held cannot be told from the amounts."""
    world.cluster.given = Fleet.of_one(8, 2)
    half: dict[str, Any] = {"gpus_per_worker": 0.5}
    first, second, third = (world.running(resources=half) for _ in range(3))
    for job_id in (first,):
        world.end_attempt(job_id, ReasonCode.CONFIG_INVALID)
    world.coordinator = world.new_coordinator()
    whole = world.submit()
    world.tick()
    assert [world.attempt(job).placement for job in (second, third)] == [(("node", 0),), (("node", 1),)]
    assert (world.status(whole), world.job(whole).waiting_for) == (
        JobStatus.QUEUED,
        "Waiting for 1 GPU; none is free.",
    )


def test_a_gang_is_spread_over_machines_by_name(world: World):
    world.keep_standby()
    world.tick()
    assert len(world.cluster.running) == 1
    world.cluster.given = Fleet((Node("m1", 4, 2), Node("m2", 4, 1)))
    job_id = world.submit(resources={"num_workers": 3})
    single = world.submit(resources={"gpus_per_worker": 0, "cpus_per_worker": 1})
    world.tick(after_s=1)
    assert world.driver(job_id).shape == WorkerShape(3, 1, 1, ("m1", "m1", "m2"))
    assert world.attempt(single).driver == f"run-{single}-1", "a standby run could be on the other machine"


def test_no_standby_run_is_kept_where_there_are_several_machines(world: World):
    world.keep_standby()
    world.cluster.given = Fleet((Node("m1", 4, 0), Node("m2", 4, 0)))
    world.tick()
    assert world.cluster.running == {}


def test_a_job_whose_machine_is_away_waits_for_it(world: World):
    world.cluster.given = Fleet((Node("m1", 4, 0), Node("m2", 4, 0)))
    job_id = world.running(resources={"num_workers": 2, "cpus_per_worker": 4})
    world.cluster.given = Fleet((Node("m1", 4, 0),))
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick(after_s=1)
    assert (world.status(job_id), world.job(job_id).waiting_for) == (
        JobStatus.QUEUED,
        "Waiting for 8 CPU cores; the available machines offer 4 CPU cores.",
    )

"""A job's `max_cost`, over all its attempts; a core costs a tenth of a cent a second."""

from datetime import timedelta
from decimal import Decimal

import pytest

from cluster.policy import Fleet
from cluster.policy.fleet import Node
from cluster.runs.run_limits import is_priced
from ftlab.schemas import EventKind, Resources
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.cluster.coordinator.test_time_limit import last_until
from tests.unit.cluster.coordinator.world import World
from tracking.store.telemetry import SeriesKey
from tracking.store.telemetry_points import from_readings

ONE_CORE = {"cpus_per_worker": 1}


def plan_of(world: World, job_id: str):
    plan = world.driver(job_id).plan
    assert plan is not None
    return plan


def notices(world: World, job_id: str) -> list[str]:
    with world.store.read() as tx:
        return [event.data["message"] for event in tx.events.after(job_id, 0, kinds=[EventKind.NOTICE])]


def test_a_run_gets_the_time_that_is_left_of_its_cost(priced: World):
    job_id = priced.submit(max_cost="0.6", resources=ONE_CORE)
    priced.tick()
    assert (plan_of(priced, job_id).time_left_s, plan_of(priced, job_id).limit) == (600, StopKind.COST_LIMIT)
    last_until(priced, job_id, 100)
    priced.end_attempt(job_id, ReasonCode.NODE_LOST)
    priced.tick()
    assert plan_of(priced, job_id).time_left_s == 500


def test_the_nearer_limit_counts(priced: World):
    job_id = priced.submit(max_cost="0.6", time_limit_s=599, resources=ONE_CORE)
    priced.tick()
    assert (plan_of(priced, job_id).time_left_s, plan_of(priced, job_id).limit) == (599, StopKind.TIME_LIMIT)


def test_a_run_that_cost_its_limit_saves_and_has_failed_with_a_notice(priced: World):
    job_id = priced.running(max_cost="0.06", resources=ONE_CORE)
    last_until(priced, job_id, 50)
    assert priced.status(job_id) is JobStatus.RUNNING
    last_until(priced, job_id, 60)
    assert priced.job(job_id).stop_kind is StopKind.COST_LIMIT
    priced.stops(job_id, ReasonCode.COST_LIMIT, saved_step=9)
    job = priced.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, ReasonCode.COST_LIMIT)
    assert job.message.startswith("The job's max_cost is used up. Its checkpoint of step 9 is kept")
    assert "The job cost 0.06 EUR so far, and its max_cost is 0.06 EUR." in notices(priced, job_id)


def test_a_run_that_sees_its_limit_first_ends_in_the_same_way(priced: World):
    job_id = priced.running(max_cost="0.06", resources=ONE_CORE)
    priced.stops(job_id, ReasonCode.COST_LIMIT)
    assert (priced.status(job_id), priced.job(job_id).reason) == (JobStatus.FAILED, ReasonCode.COST_LIMIT)
    assert "before its first checkpoint" in priced.job(job_id).message


def test_a_job_that_crashes_with_its_cost_used_up_is_not_tried_again(priced: World):
    job_id = priced.running(max_cost="0.06", resources=ONE_CORE)
    last_until(priced, job_id, 50)
    priced.now = priced.attempt(job_id).created_at.replace(minute=1)
    priced.end_attempt(job_id, ReasonCode.WORKER_CRASHED)
    priced.tick()
    assert (priced.status(job_id), priced.job(job_id).reason) == (JobStatus.FAILED, ReasonCode.COST_LIMIT)


def test_the_electricity_that_a_running_attempt_has_drawn_counts(world: World):
    # A GPU costs a hundredth of a cent a second, and its 360 W ten times as much.
    world.settings = world.settings.model_copy(update={"prices": {"gpu": Decimal("0.36"), "kwh": Decimal(10)}})
    world.coordinator = world.new_coordinator()
    world.cluster.given = Fleet((Node("m1", 4, 1, gpu_type="H100"),))
    job_id = world.running(max_cost="0.2", resources={"gpus_per_worker": 1})
    readings = [((world.now + timedelta(seconds=each)).timestamp(), {"power_watts": 360.0}) for each in range(1, 4)]
    with world.store.begin() as tx:
        tx.telemetry.add(SeriesKey("m1", "gpu-0", job_id, 1), from_readings(readings))
    last_until(world, job_id, 150)
    assert world.status(job_id) is JobStatus.RUNNING
    last_until(world, job_id, 190)
    assert world.job(job_id).stop_kind is StopKind.COST_LIMIT
    world.stops(job_id, ReasonCode.COST_LIMIT)
    assert "The job cost 0.21 USD so far, and its max_cost is 0.20 USD." in notices(world, job_id)


def test_a_job_whose_price_was_removed_is_held_until_there_is_one(world: World):
    job_id = world.submit(max_cost=1, resources=ONE_CORE)
    world.tick(after_s=2)
    assert world.status(job_id) is JobStatus.QUEUED
    assert "has no price" in (world.job(job_id).waiting_for or "")
    world.settings = world.settings.model_copy(update={"prices": {"cpu": Decimal(1)}})
    world.coordinator = world.new_coordinator()
    world.tick()
    assert world.status(job_id) is JobStatus.PENDING


@pytest.mark.parametrize(
    ("prices", "resources", "priced"),
    [
        ({"cpu": "1"}, {}, True),
        ({"gpu": "1"}, {}, True),
        ({"H100": "1"}, {}, False),
        ({"H100": "1", "A100": "1"}, {}, True),
        ({"cpu": "0"}, {}, False),
        ({"kwh": "1"}, {}, False),
        ({"gpu": "1"}, {"gpus_per_worker": 0}, False),
        ({"cpu": "1"}, {"gpus_per_worker": 0}, True),
    ],
)
def test_every_device_that_a_job_may_get_needs_a_price(prices, resources, priced):
    fleet = Fleet((Node("a", 8, 1, gpu_type="H100"), Node("b", 8, 1, gpu_type="A100")))
    assert is_priced(Settings(prices=prices), Resources(**resources), fleet) is priced


def test_without_machines_any_price_of_a_device_counts():
    assert is_priced(Settings(prices={"H100": "1"}), Resources(), None)
    assert not is_priced(Settings(prices={"kwh": "1"}), Resources(), None)

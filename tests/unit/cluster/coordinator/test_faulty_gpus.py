"""GPUs on which one job after another fails are taken out, and come back when an admin restores them."""

from typing import Any

import pytest

from cluster.coordinator.coordinator import IDLE_AFTER_S, IDLE_INTERVAL_S
from cluster.coordinator.tick_timer import INTERVAL_S
from cluster.policy import Fleet, Node, Spot
from ftlab.schemas.notifications import NotificationKind
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.world import World

ONE_GPU: dict[str, Any] = {"gpus_per_worker": 1, "cpus_per_worker": 1}


@pytest.fixture
def gpus(world: World) -> World:
    """A machine with two GPUs."""
    world.cluster.given = Fleet((Node("id-1", 8, 2, name="alpha"),))
    return world


def fails_on(world: World, gpu: int, *, job_id: str | None = None, reason: ReasonCode = ReasonCode.GPU_LOST) -> str:
    """A job runs on this GPU, whatever the policy planned, and fails."""
    job_id = job_id or world.submit(resources=ONE_GPU, max_retries=0)
    world.tick()
    world.trains(job_id)
    ref = world.job(job_id).ref
    with world.store.begin() as tx:
        tx.attempts.set_processes(ref, pids=[1], process_devices=[("id-1", (gpu,))])
    world.end_attempt(job_id, reason, "CUDA error: unspecified launch failure.")
    world.tick(after_s=10)
    return job_id


def out(world: World) -> list[tuple[str, int]]:
    with world.store.read() as tx:
        return [(gpu.node, gpu.gpu) for gpu in tx.device_faults.out()]


def test_three_jobs_that_fail_on_a_gpu_take_it_out(gpus: World):
    jobs = [fails_on(gpus, 1) for _ in range(2)]
    assert out(gpus) == []
    jobs.append(fails_on(gpus, 1))
    assert out(gpus) == [("alpha", 1)]
    gpus.tick()
    assert gpus.cluster.gpus_aside == {Spot("id-1", 1)}
    with gpus.store.read() as tx:
        [gpu] = tx.device_faults.out()
        [notice] = tx.notifications.list(owner="local", kinds=[NotificationKind.GPU_OUT])
    assert all(job in gpu.reason for job in jobs)
    assert notice.title == "GPU 1 of alpha is taken out"
    assert "ftlab nodes restore alpha gpu-1" in notice.message


def test_jobs_get_the_other_gpus_and_wait_for_the_rest(gpus: World):
    for _ in range(3):
        fails_on(gpus, 0)
    first, second = gpus.submit(resources=ONE_GPU), gpus.submit(resources=ONE_GPU)
    gpus.tick(after_s=1)
    assert [gpus.status(first), gpus.status(second)] == [JobStatus.PENDING, JobStatus.QUEUED]
    assert gpus.attempt(first).placement == (("id-1", 1),)
    both = gpus.submit(resources=ONE_GPU | {"num_workers": 2}, priority=90)
    gpus.tick(after_s=1)
    assert gpus.status(both) is JobStatus.QUEUED
    waiting_for = gpus.job(both).waiting_for or ""
    assert "offer 1 GPU and 8 CPU cores, and 1 GPU is taken out because of failures" in waiting_for


def test_a_job_that_fails_on_every_gpu_takes_none_out(gpus: World):
    job_id = gpus.submit(resources=ONE_GPU, max_retries=10)
    for number in range(6):
        gpus.now = gpus.now.replace(hour=gpus.now.hour + 1)
        fails_on(gpus, number % 2, job_id=job_id)
    assert out(gpus) == []


def test_failures_with_another_reason_do_not_count(gpus: World):
    for _ in range(4):
        fails_on(gpus, 1, reason=ReasonCode.DEVICE_OOM)
    assert out(gpus) == []


def test_old_failures_do_not_count(gpus: World):
    for _ in range(2):
        fails_on(gpus, 1)
    gpus.now = gpus.now.replace(day=3)
    fails_on(gpus, 1)
    assert out(gpus) == []


def test_it_stays_out_when_coordinator_and_machine_come_back(gpus: World):
    for _ in range(3):
        fails_on(gpus, 1)
    gpus.cluster.given = Fleet((Node("id-2", 8, 2, name="alpha"),))
    gpus.cluster.gpus_aside = set()
    gpus.coordinator = gpus.new_coordinator()
    job_id = gpus.submit(resources=ONE_GPU)
    gpus.tick()
    assert gpus.cluster.gpus_aside == {Spot("id-2", 1)}
    assert gpus.attempt(job_id).placement == (("id-2", 0),)


def test_a_restored_gpu_is_used_again_and_its_failures_are_forgotten(gpus: World):
    for _ in range(3):
        fails_on(gpus, 1)
    gpus.tick(after_s=IDLE_AFTER_S + 1)
    assert gpus.coordinator.interval_s == INTERVAL_S, "setting it aside takes several ticks"
    with gpus.store.begin() as tx:
        assert tx.device_faults.restore("alpha", 1)
        assert not tx.device_faults.restore("alpha", 1)
    gpus.tick(after_s=IDLE_AFTER_S + 1)
    assert gpus.cluster.gpus_aside == set()
    assert gpus.coordinator.interval_s == IDLE_INTERVAL_S
    fails_on(gpus, 1)
    assert out(gpus) == []


def test_one_that_a_run_still_has_is_set_aside_later(gpus: World):
    held = gpus.submit(resources=ONE_GPU)
    gpus.tick()
    gpus.trains(held)
    with gpus.store.begin() as tx:
        tx.attempts.set_processes(gpus.job(held).ref, pids=[2], process_devices=[("id-1", (1,))])
    for _ in range(3):
        fails_on(gpus, 1)
        gpus.beat(held)
    gpus.tick()
    assert gpus.cluster.gpus_aside == set()
    gpus.end_attempt(held, ReasonCode.DEVICE_OOM)
    gpus.tick(after_s=1)
    gpus.tick()
    assert gpus.cluster.gpus_aside == {Spot("id-1", 1)}


def test_of_several_workers_the_one_that_failed_counts(gpus: World):
    for _ in range(3):
        job_id = gpus.submit(resources=ONE_GPU | {"num_workers": 2}, max_retries=0)
        gpus.tick()
        gpus.trains(job_id)
        ref = gpus.job(job_id).ref
        with gpus.store.begin() as tx:
            tx.attempts.set_processes(ref, pids=[1, 2], process_devices=[("id-1", (1,)), ("id-1", (0,))])
            assert tx.attempts.end(ref, reason=ReasonCode.GPU_LOST, message="Lost.", now=gpus.now, failure={"rank": 1})
        gpus.cluster.running[gpus.attempt(job_id).driver].state = "ended"
        gpus.tick(after_s=10)
    assert out(gpus) == [("alpha", 0)]


def test_the_setting_switches_it_off(gpus: World):
    gpus.settings = gpus.settings.model_copy(update={"gpu_fault_jobs": 0})
    gpus.coordinator = gpus.new_coordinator()
    for _ in range(4):
        fails_on(gpus, 1)
    assert out(gpus) == []

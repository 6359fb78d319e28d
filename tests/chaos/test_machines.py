"""A service on several machines, one of which goes away."""

import pytest

from ftlab.status import FailureCause, JobStatus, ReasonCode
from tests.chaos.conftest import CORES
from tests.chaos.machines import machine
from tests.chaos.scene import Scene
from tests.support.clocks import wait_for

MANY = {"cpus_per_worker": CORES + 1}
"""Only a machine that joins has so many cores."""
NODE_LOST_S = 60.0
"""Ray itself takes about 12 s to give a machine up."""


@pytest.mark.chaos
def test_a_job_whose_machine_is_lost_goes_on_elsewhere(scene: Scene) -> None:
    with machine(scene.lab, CORES + 1) as first:
        job = scene.submit(max_steps=120, resources=MANY)
        scene.reach(job, 8)
        with machine(scene.lab, CORES + 1):
            first.lose()
            wait_for(lambda: scene.has_ended(job, attempt=1), NODE_LOST_S, "the machine to be given up")
            done = scene.finish(job)

    assert done.status is JobStatus.COMPLETED, done.message
    assert [each.reason for each in scene.lab.attempts(job.id)] == [ReasonCode.NODE_LOST, ReasonCode.OK]
    assert done.retries_used == 0, "the job is not at fault"


@pytest.mark.chaos
def test_a_machine_without_memory_fails_the_job_and_says_what_to_change(scene: Scene) -> None:
    """Ray's memory monitor ends the worker: on this one machine, it takes every use for too much."""
    with machine(scene.lab, CORES + 1, RAY_memory_usage_threshold="0.01", RAY_memory_monitor_refresh_ms="250"):
        job = scene.submit(max_steps=1000, resources=MANY)
        failed = scene.finish(job)

    assert (failed.status, failed.reason) == (JobStatus.FAILED, ReasonCode.HOST_OOM), failed.message
    assert "memory" in failed.message
    assert scene.client.jobs.failure(job.id).cause == FailureCause.HOST_MEMORY

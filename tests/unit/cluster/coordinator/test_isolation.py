"""An unexpected error in the work for one job holds up no other job."""

from collections.abc import Callable
from typing import Any

import pytest

from cluster.coordinator import chain_gate, ended_attempts, live_attempts, start_jobs
from cluster.coordinator.failed_jobs import TRIES
from cluster.runs.run_limits import RunLimits
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.test_chains import child_of, completes
from tests.unit.cluster.coordinator.world import World

SMALL = {"cpus_per_worker": 1}


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, str], None]:
    """Have a function raise an error that nobody expects when it is called for one job."""

    def patch(owner: Any, name: str, job_id: str) -> None:
        real = getattr(owner, name)

        def fail(*arguments: Any, **options: Any) -> Any:
            if any(job_id in (getattr(each, "id", None), getattr(each, "job_id", None)) for each in arguments):
                raise OverflowError("cannot convert float infinity to integer")
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, fail)

    return patch


def fails_at_last(world: World, job_id: str, message: str) -> None:
    """The next ticks try again, and then the job fails with a sentence."""
    for _ in range(TRIES - 1):
        assert world.status(job_id) is not JobStatus.FAILED
        world.tick(after_s=1)
    job = world.job(job_id)
    assert (job.status, job.reason, job.message) == (JobStatus.FAILED, ReasonCode.INTERNAL_ERROR, message)


def test_of_a_job_that_is_settled(world: World, breaks: Callable[..., None], caplog: pytest.LogCaptureFixture):
    broken, other = world.running(resources=SMALL), world.running(resources=SMALL)
    breaks(ended_attempts, "notices_of", broken)
    for job_id in (broken, other):
        world.end_attempt(job_id, ReasonCode.LOSS_DIVERGED)
    world.tick(after_s=1)
    assert world.status(other) is JobStatus.FAILED
    assert f"Job {broken} could not be settled" in caplog.text
    fails_at_last(world, broken, "The service could not get the job settled after its run had ended; its log says why.")


def test_that_passes_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch):
    job_id = world.running()
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    with monkeypatch.context() as for_a_while:
        for_a_while.setattr(ended_attempts, "after_attempt", lambda *_, **__: 1 / 0)
        for _ in range(TRIES - 1):
            world.tick(after_s=1)
    assert world.attempt(job_id).number == 1
    world.tick(after_s=1)
    assert world.attempt(job_id).number == 2


def test_of_a_job_that_starts(world: World, breaks: Callable[..., None]):
    broken, other = world.submit(resources=SMALL), world.submit(resources=SMALL)
    breaks(start_jobs, "make_plan", broken)
    world.tick()
    assert world.status(other) is JobStatus.PENDING
    fails_at_last(world, broken, "The service could not get the job started; its log says why.")
    assert world.attempts(broken) == []


def test_of_a_job_that_waited_for_another(world: World, breaks: Callable[..., None]):
    parent = world.running()
    broken, other = (child_of(world, parent, resources=SMALL) for _ in range(2))
    breaks(chain_gate, "_release_or_fail", broken)
    completes(world, parent)
    world.tick(after_s=1)
    assert world.status(other) is JobStatus.PENDING
    fails_at_last(
        world, broken, "The service could not get the job released after the jobs before it; its log says why."
    )


def test_of_a_running_job(world: World, breaks: Callable[..., None]):
    broken, other = world.running(resources=SMALL), world.running(resources=SMALL)
    breaks(live_attempts, "_due_stop", broken)
    world.driver(other).state = "ended"
    world.cluster.running.pop(world.attempt(other).driver)
    for _ in range(TRIES + 1):
        world.tick(after_s=1)
    assert world.attempt(other).number == 2
    assert world.status(broken) is JobStatus.RUNNING


def test_in_a_cost(world: World, breaks: Callable[..., None]):
    broken, other = world.running(resources=SMALL), world.running(resources=SMALL)
    breaks(ended_attempts, "totals_of", broken)
    for job_id in (broken, other):
        world.end_attempt(job_id, ReasonCode.LOSS_DIVERGED)
    world.tick(after_s=1)
    with world.store.read() as tx:
        assert [attempt.job_id for attempt in tx.attempts.uncounted()] == [broken]
    assert world.status(broken) is JobStatus.FAILED


def test_in_a_limit(world: World, breaks: Callable[..., None]):
    broken = world.submit(resources=SMALL, time_limit_s=60)
    other = world.submit(resources=SMALL)
    breaks(RunLimits, "longest_s", broken)
    world.tick()
    assert world.status(other) is JobStatus.PENDING

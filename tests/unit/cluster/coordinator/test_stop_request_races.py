"""What a user was told to be accepted holds, also when it comes between what the coordinator read and what it writes.

On SQLite and on PostgreSQL, which lets two transactions read the same job before either writes.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from cluster.policy import Fleet
from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.support.databases import postgres_database, postgres_url, sqlite_url, store_url
from tests.support.postgres import postgres
from tests.unit.cluster.coordinator.world import World, add_checkpoint
from tests.unit.tracking.samples import at_once
from tracking.store import StaleJobError, Store

__all__ = ["postgres", "postgres_database", "postgres_url", "sqlite_url", "store_url"]

ROUNDS = 15


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store.open(store_url)
    yield opened
    opened.close()


def between_look_and_move(world: World, monkeypatch: pytest.MonkeyPatch, wish: Callable[[], None]) -> None:
    """The settling gives devices back after it has read the jobs and before it moves one."""
    wishes = [wish]

    def release(placement_groups: Iterable[str]) -> None:
        if wishes:
            wishes.pop()()

    monkeypatch.setattr(world.cluster, "release", release)


def drained(world: World) -> str:
    """A job that the service has asked to save, whose run has done so and ended."""
    job_id = world.running()
    world.coordinator.drain()
    world.tick()
    assert world.job(job_id).stop_kind is StopKind.DRAIN
    add_checkpoint(world, job_id, 7)
    world.end_attempt(job_id, ReasonCode.SERVICE_RESTARTED)
    return job_id


def test_a_pause_of_a_job_that_is_about_to_be_queued_again(world: World, monkeypatch: pytest.MonkeyPatch):
    job_id = drained(world)
    between_look_and_move(world, monkeypatch, lambda: world.pause(job_id))
    world.tick()
    assert (world.status(job_id), world.job(job_id).stop_kind) == (JobStatus.PAUSING, StopKind.PAUSE)
    world.tick()
    assert world.status(job_id) is JobStatus.PAUSED


def test_a_pause_of_a_job_that_is_about_to_be_tried_again(world: World, monkeypatch: pytest.MonkeyPatch):
    job_id = world.running()
    world.end_attempt(job_id, ReasonCode.WORKER_CRASHED)
    between_look_and_move(world, monkeypatch, lambda: world.pause(job_id))
    world.tick()
    world.tick()
    job = world.job(job_id)
    assert (job.status, job.retries_used) == (JobStatus.PAUSED, 0)


def test_a_cancel_of_a_job_that_is_about_to_fail(world: World, monkeypatch: pytest.MonkeyPatch):
    job_id = world.running()
    world.end_attempt(job_id, ReasonCode.LOSS_DIVERGED)
    between_look_and_move(world, monkeypatch, lambda: world.cancel(job_id))
    world.tick()
    world.tick()
    assert world.told(job_id)[-2:] == ["cancelling", "cancelled"]


def test_a_checkpoint_named_while_the_job_is_about_to_start(world: World, monkeypatch: pytest.MonkeyPatch):
    job_id = world.running()
    for step in (5, 10):
        add_checkpoint(world, job_id, step)
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    world.tick()
    world.end_attempt(job_id, ReasonCode.NODE_LOST)
    fleets = [world.cluster.given]

    def fleet() -> Fleet:
        """Looked at after the queue, before the claim."""
        if world.status(job_id) is JobStatus.QUEUED and fleets:
            world.pause(job_id)
            world.resume(job_id, "step-00000005")
            return fleets.pop()
        return world.cluster.given

    monkeypatch.setattr(world.cluster, "fleet", fleet)
    world.tick()
    assert not fleets
    plan = world.driver(job_id).plan
    assert plan is not None
    assert (plan.attempt, plan.resume_from) == (3, "step-00000005")
    assert world.attempt(job_id).resumed_from_step == 5


def test_a_pause_at_the_same_time_as_the_settling(store: Store, tmp_path: Path):
    for _ in range(ROUNDS):
        world = World(store, tmp_path)
        job_id = drained(world)

        def pause_or_tick(side: int, world: World = world, job_id: str = job_id) -> None:
            if side:
                world.tick()
            else:
                _pause_as_the_api_does(world, job_id)

        assert at_once(2, pause_or_tick) == [None, None]
        world.tick()
        assert world.status(job_id) is JobStatus.PAUSED


def _pause_as_the_api_does(world: World, job_id: str) -> None:
    """Again, when the job has moved on meanwhile."""
    while True:
        try:
            return world.pause(job_id)
        except StaleJobError:
            continue

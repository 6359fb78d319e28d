"""What a tick costs, and who may tick."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from cluster.coordinator.actor import CoordinatorActor
from cluster.coordinator.coordinator import (
    IDLE_AFTER_S,
    IDLE_INTERVAL_S,
    LEASE_TTL_S,
    LOOKS_UNTIL_ABANDONED,
    FencedError,
    run_forever,
    wait_until_abandoned,
)
from cluster.coordinator.tick_timer import INTERVAL_S, TickTimer
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import JobConfig
from ftlab.status import JobStatus, ReasonCode
from tests.support.databases import change_config
from tests.unit.cluster.coordinator.world import World
from tracking.store.leases import COORDINATOR


class Counted:
    """Counts the calls that cost something."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes = self.listings = self.parsed = 0
        begin, drivers, parse = world.store.begin, world.cluster.drivers, JobConfig.model_validate_json

        @contextmanager
        def counted_begin() -> Iterator[Any]:
            self.writes += 1
            with begin() as tx:
                yield tx

        def counted_drivers() -> set[str]:
            self.listings += 1
            return drivers()

        def counted_parse(text: str) -> JobConfig:
            self.parsed += 1
            return parse(text)

        monkeypatch.setattr(world.store, "begin", counted_begin)
        monkeypatch.setattr(world.cluster, "drivers", counted_drivers)
        monkeypatch.setattr(JobConfig, "model_validate_json", counted_parse)


def test_a_tick_with_nothing_to_do_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch):
    world.running(resources={"cpus_per_worker": 3}, time_limit_s=3600)
    for _ in range(5):
        world.submit()
    world.tick(after_s=1)
    counted = Counted(world, monkeypatch)
    world.tick(after_s=0.5)
    world.tick(after_s=1)
    assert (counted.writes, counted.listings, counted.parsed) == (0, 2, 0)


def test_the_lease_is_renewed_when_a_third_of_it_has_passed(world: World, monkeypatch: pytest.MonkeyPatch):
    world.tick()
    counted = Counted(world, monkeypatch)
    world.tick(after_s=LEASE_TTL_S / 3 - 0.1)
    assert counted.writes == 0
    world.tick(after_s=0.2)
    assert counted.writes == 1
    with world.store.read() as tx:
        lease = tx.leases.current(COORDINATOR)
    assert lease is not None
    assert (lease.expires_at - world.now).total_seconds() == LEASE_TTL_S


def test_ticks_are_rarer_when_there_has_been_nothing_to_do_for_a_while(world: World, monkeypatch: pytest.MonkeyPatch):
    world.tick()
    assert world.coordinator.interval_s == INTERVAL_S
    world.tick(after_s=IDLE_AFTER_S + 1)
    assert world.coordinator.interval_s == IDLE_INTERVAL_S
    counted = Counted(world, monkeypatch)
    world.tick(after_s=IDLE_INTERVAL_S)
    assert counted.writes == 1, "an idle tick renews the lease, which the next one finds long before its end"


def test_ticks_are_frequent_while_any_job_waits(world: World):
    world.tick(after_s=IDLE_AFTER_S + 1)
    job_id = world.running()
    world.tick(after_s=IDLE_AFTER_S + 1)
    assert world.coordinator.interval_s == INTERVAL_S
    world.end_attempt(job_id, ReasonCode.WORKER_CRASHED)
    world.tick()
    with world.store.read() as tx:
        assert tx.jobs.queue_heads(9, now=world.now) == [], "its retry is due later"
    world.coordinator = world.new_coordinator()
    world.now += timedelta(seconds=IDLE_AFTER_S + 1)
    assert world.coordinator.interval_s == IDLE_INTERVAL_S
    world.tick()
    assert world.coordinator.interval_s == INTERVAL_S


def test_a_tick_that_starts_jobs_lists_the_drivers_once(world: World, monkeypatch: pytest.MonkeyPatch):
    world.keep_standby()
    world.tick()
    jobs = [world.submit(resources={"cpus_per_worker": 1}) for _ in range(3)]
    counted = Counted(world, monkeypatch)
    world.tick(after_s=30)
    assert [world.status(job) for job in jobs] == [JobStatus.PENDING] * 3
    assert counted.listings == 1


def test_a_changed_config_is_read_anew(world: World):
    running = world.running()
    job_id = world.submit(resources={"cpus_per_worker": 2})
    world.tick()
    change_config(world.store, job_id, resources={"num_workers": 1, "cpus_per_worker": 3})
    world.end_attempt(running, ReasonCode.CONFIG_INVALID)
    world.tick()
    assert world.attempt(job_id).cpus == 3


def test_a_fenced_coordinator_stops_for_good(world: World, caplog: pytest.LogCaptureFixture):
    older = world.coordinator
    older.tick()
    world.coordinator = world.new_coordinator()
    world.tick()

    def pause(tick_s: float, interval_s: float) -> None:
        pytest.fail("it goes on")

    with caplog.at_level(logging.ERROR):
        run_forever(older, pause)
    assert caplog.text.count("stops for good") == 1


def test_a_coordinator_is_fenced_when_it_renews_too(world: World):
    older = world.coordinator
    older.tick()
    world.coordinator = world.new_coordinator()
    world.tick(after_s=LEASE_TTL_S)
    with pytest.raises(FencedError):
        older.tick()


@contextmanager
def no_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every transaction that writes fails at its end."""
    begin = world.store.begin

    @contextmanager
    def undone() -> Iterator[Any]:
        with begin() as tx:
            yield tx
            raise ServiceUnavailableError("The database went away.")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "begin", undone)
        yield


def test_a_lease_that_could_not_be_committed_is_taken_by_the_next_tick(world: World, monkeypatch: pytest.MonkeyPatch):
    job_id = world.submit()
    with no_commit(world, monkeypatch), pytest.raises(ServiceUnavailableError):
        world.tick()
    world.tick()
    assert world.status(job_id) is JobStatus.PENDING


def test_a_lease_whose_renewal_was_lost_is_renewed_by_the_next_tick(world: World, monkeypatch: pytest.MonkeyPatch):
    world.tick()
    with no_commit(world, monkeypatch), pytest.raises(ServiceUnavailableError):
        world.tick(after_s=LEASE_TTL_S / 2)
    world.tick(after_s=0.1)
    with world.store.read() as tx:
        lease = tx.leases.current(COORDINATOR)
    assert lease is not None
    assert (lease.expires_at - world.now).total_seconds() == LEASE_TTL_S


def test_a_fenced_coordinator_stays_away_while_another_one_ticks(world: World, monkeypatch: pytest.MonkeyPatch):
    """And while the database is away: then nobody can tick, which says nothing about who would."""
    num_looks = 0

    def pause(seconds: float) -> None:
        nonlocal num_looks
        num_looks += 1
        if num_looks <= 20:
            world.tick(after_s=seconds)
        elif num_looks == 24:
            monkeypatch.setattr(world.store, "read", away)
        elif num_looks == 25:
            monkeypatch.setattr(world.store, "read", read)

    def away() -> None:
        raise ServiceUnavailableError("The database is away.")

    read = world.store.read
    wait_until_abandoned(world.store, pause)
    assert num_looks == 24 + LOOKS_UNTIL_ABANDONED


def test_a_fenced_actor_begins_anew_when_its_successor_is_gone(world: World, monkeypatch: pytest.MonkeyPatch):
    actor = object.__new__(CoordinatorActor)
    actor._store, actor._coordinator, actor._timer = world.store, world.coordinator, TickTimer()
    world.tick()
    world.coordinator = world.new_coordinator()
    world.tick()
    done: list[object] = []
    monkeypatch.setattr("cluster.coordinator.actor.time.sleep", lambda seconds: done.append("looks"))
    monkeypatch.setattr("cluster.coordinator.actor.os._exit", done.append)
    actor._run()
    assert done == ["looks"] * (LOOKS_UNTIL_ABANDONED + 1) + [1]


def test_a_run_that_a_killed_coordinator_had_claimed_and_not_started_costs_no_retry(world: World):
    job_id = world.submit(max_retries=0)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    launch, world.cluster.launch = world.cluster.launch, die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.tick()
    world.cluster.launch = launch  # type: ignore[method-assign]
    assert world.status(job_id) is JobStatus.PENDING
    world.coordinator = world.new_coordinator()
    world.tick(after_s=1)
    first, second = world.attempts(job_id)
    assert (first.reason, second.ended_at) == (ReasonCode.SERVICE_RESTARTED, None)
    assert (world.status(job_id), world.job(job_id).retries_used) == (JobStatus.PENDING, 0)


def test_a_run_that_dies_before_its_first_word_costs_a_retry(world: World):
    job_id = world.submit()
    world.tick()
    world.cluster.crash(world.attempt(job_id).driver)
    world.tick()
    assert world.attempt(job_id).reason is ReasonCode.WORKER_CRASHED


def test_a_restart_is_news_until_a_whole_tick_has_dealt_with_it(world: World):
    """Two faults at once: the service is restarted, and its first coordinator is killed in its first tick."""
    job_id = world.running(max_retries=0)
    world.cluster.crash(world.attempt(job_id).driver)
    world.cluster.life = "session-2"
    drivers = world.cluster.drivers

    def die() -> set[str]:
        raise KeyboardInterrupt

    world.cluster.drivers = die  # type: ignore[method-assign]
    world.coordinator = world.new_coordinator()
    with pytest.raises(KeyboardInterrupt):
        world.tick()
    world.cluster.drivers = drivers  # type: ignore[method-assign]
    world.coordinator = world.new_coordinator()
    world.tick()
    assert world.attempts(job_id)[0].reason is ReasonCode.SERVICE_RESTARTED
    assert world.status(job_id) is JobStatus.PENDING

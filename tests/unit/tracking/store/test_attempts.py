"""Attempts: heartbeats, processes, and the fence around an attempt that has ended."""

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from ftlab.errors import NotFoundError
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import NOW, add_job, at_once, claim, get_job, later, reach, retry, start
from tracking.store import StaleJobError, Store
from tracking.store.records import AttemptRecord, JobRef, JobState
from tracking.store.rows import attempts

S = JobStatus


def get_attempt(store: Store, ref: JobRef) -> AttemptRecord:
    with store.read() as tx:
        return tx.attempts.get(ref)


def test_heartbeat_returns_what_the_job_should_do(store: Store) -> None:
    ref = reach(store, S.RUNNING)
    with store.begin() as tx:
        assert tx.attempts.heartbeat(ref, now=later(5)) == JobState(S.RUNNING, None)
    assert get_attempt(store, ref).heartbeat_at == later(5)
    with store.begin() as tx:
        tx.jobs.move(ref, S.CANCELLING, now=NOW)
        assert tx.attempts.heartbeat(ref, now=later(6)) == JobState(S.CANCELLING, None)


def test_heartbeat_of_a_stale_attempt_tells_it_to_stop(store: Store) -> None:
    stale = start(store, add_job(store).id)
    newest = retry(store, stale)
    before = get_attempt(store, stale)
    with store.begin() as tx:
        assert tx.attempts.heartbeat(stale, now=later(9)) is None
        assert tx.attempts.heartbeat(JobRef(stale.id, 3), now=later(9)) is None
        assert tx.attempts.heartbeat(JobRef("job-none", 1), now=later(9)) is None
        assert tx.attempts.heartbeat(newest, now=later(9)) == JobState(S.RUNNING, None)
    assert get_attempt(store, stale) == before


def test_heartbeat_after_the_end_tells_it_to_stop(store: Store) -> None:
    ref = reach(store, S.RUNNING)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.WORKER_HUNG, message=None, now=NOW)
        assert tx.attempts.heartbeat(ref, now=later(9)) is None
    assert get_attempt(store, ref).heartbeat_at == NOW


def test_processes(store: Store) -> None:
    ref = reach(store, S.PENDING)
    with store.begin() as tx:
        tx.attempts.set_processes(ref, placement_groups=["ab12", "cd34"])
        tx.attempts.set_processes(ref, pids=[11, 12])
        tx.attempts.set_processes(ref)
    attempt = get_attempt(store, ref)
    assert (attempt.placement_groups, attempt.pids) == (("ab12", "cd34"), (11, 12))


def test_processes_of_an_ended_attempt_are_refused(store: Store) -> None:
    stale = start(store, add_job(store).id)
    retry(store, stale)
    with pytest.raises(StaleJobError), store.begin() as tx:
        tx.attempts.set_processes(stale, pids=[1])
    assert get_attempt(store, stale).pids == ()


def test_end_happens_once(store: Store) -> None:
    ref = reach(store, S.RUNNING)
    with store.begin() as tx:
        assert tx.attempts.end(ref, reason=ReasonCode.NODE_LOST, message="Node lost.", now=later(1))
        assert not tx.attempts.end(ref, reason=ReasonCode.OK, message="Fine.", now=later(2))
    attempt = get_attempt(store, ref)
    assert (attempt.ended_at, attempt.reason, attempt.message) == (
        later(1),
        ReasonCode.NODE_LOST,
        "Node lost.",
    )


def test_stale_attempt_does_not_end_the_newest(store: Store) -> None:
    stale = start(store, add_job(store).id)
    newest = retry(store, stale)
    with store.begin() as tx:
        assert not tx.attempts.end(stale, reason=ReasonCode.OK, message=None, now=NOW)
    assert get_attempt(store, newest).ended_at is None


def test_index_refuses_a_second_live_attempt(store: Store) -> None:
    ref = claim(store, add_job(store).id)
    second = {**vars(get_attempt(store, ref)), "number": 2}
    with pytest.raises(IntegrityError), store._database.writing() as connection:
        connection.execute(insert(attempts), second)
    with store._database.writing() as connection:
        connection.execute(insert(attempts), {**second, "ended_at": NOW})
    with store.read() as tx:
        assert [attempt.number for attempt in tx.attempts.of_job(ref.id)] == [1, 2]
        assert [attempt.number for attempt in tx.attempts.live()] == [1]


def test_live_and_history(store: Store) -> None:
    first = start(store, add_job(store).id)
    second = retry(store, first)
    other = claim(store, add_job(store).id, now=later(1))
    with store.read() as tx:
        live = tx.attempts.live()
        history = tx.attempts.of_job(first.id)
    assert [(attempt.job_id, attempt.number) for attempt in live] == [
        (second.id, second.attempt),
        (other.id, other.attempt),
    ]
    assert [attempt.number for attempt in history] == [1, 2]
    assert history[0].message == "It crashed."


def test_placement_groups_are_remembered_until_they_are_released(store: Store) -> None:
    holding, empty = claim(store, add_job(store).id), claim(store, add_job(store).id)
    with store.begin() as tx:
        tx.attempts.set_processes(holding, placement_groups=["ab12"])
        tx.attempts.released(holding)
        assert tx.attempts.unreleased() == []
        for ref in (holding, empty):
            tx.attempts.end(ref, reason=ReasonCode.WORKER_CRASHED, message=None, now=NOW)
    with store.begin() as tx:
        (unreleased,) = tx.attempts.unreleased()
        assert (unreleased.job_id, unreleased.placement_groups) == (holding.id, ("ab12",))
        tx.attempts.released(holding)
        assert tx.attempts.unreleased() == []
    assert get_attempt(store, holding).placement_groups == ()


def test_use_is_counted_once_after_the_end(store: Store) -> None:
    first, second = (claim(store, add_job(store).id) for _ in range(2))
    with store.begin() as tx:
        assert not tx.attempts.count(first, now=NOW), "it lives"
        assert tx.attempts.uncounted() == []
        tx.attempts.end(second, reason=ReasonCode.OK, message=None, now=later(1))
        tx.attempts.end(first, reason=ReasonCode.OK, message=None, now=later(2))
        assert [attempt.job_id for attempt in tx.attempts.uncounted()] == [second.id, first.id]

    def count(_number: int) -> bool:
        with store.begin() as tx:
            return tx.attempts.count(first, now=later(3))

    assert sorted(at_once(4, count)) == [False, False, False, True]
    with store.read() as tx:
        assert [attempt.job_id for attempt in tx.attempts.uncounted()] == [second.id]


def test_unknown_attempt(store: Store) -> None:
    job = add_job(store)
    with pytest.raises(NotFoundError, match="has no attempt 1") as caught:
        get_attempt(store, JobRef(job.id, 1))
    assert caught.value.code == "attempt_not_found"
    assert get_job(store, job.id).attempt == 0

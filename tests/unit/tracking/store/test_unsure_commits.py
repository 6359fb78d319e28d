"""The database commits, but the answer gets lost: the caller sees an error and tries again."""

import pytest
from sqlalchemy import PoolProxiedConnection

from ftlab.errors import ServiceUnavailableError
from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.tracking.samples import NOW, add_job, checkpoint, get_job, hold_lease, log_event, start
from tracking.store import DuplicateError, StaleJobError, Store

S = JobStatus


@pytest.fixture
def lose_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every commit is made and then fails; `undo()` ends it."""
    dialect = store._database._writer.dialect
    commit = dialect.do_commit

    def commit_and_fail(connection: PoolProxiedConnection) -> None:
        commit(connection)
        raise dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(dialect, "do_commit", commit_and_fail)
    return monkeypatch


def test_submit_with_a_key_makes_one_job(store: Store, lose_answer: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServiceUnavailableError):
        add_job(store, idempotency_key="k")
    lose_answer.undo()
    with pytest.raises(DuplicateError):
        add_job(store, idempotency_key="k")
    with store.read() as tx:
        found = tx.jobs.find_idempotent("local", "k")
        assert [job.id for job in tx.jobs.list()] == [found[0] if found else None]


def test_claim_makes_one_attempt_which_can_be_found(store: Store, request: pytest.FixtureRequest) -> None:
    job = add_job(store)
    epoch = hold_lease(store).epoch

    def claim() -> None:
        with store.begin() as tx:
            tx.jobs.claim(job.id, driver="run-1", cpus=1, gpus=0, epoch=epoch, now=NOW)

    lose_answer = request.getfixturevalue("lose_answer")
    with pytest.raises(ServiceUnavailableError):
        claim()
    lose_answer.undo()
    with pytest.raises(StaleJobError):
        claim()
    with store.read() as tx:
        assert [(attempt.job_id, attempt.number, attempt.driver) for attempt in tx.attempts.live()] == [
            (job.id, 1, "run-1")
        ]
        assert [event.seq for event in tx.events.after(job.id, 0)] == [1, 2]
        assert tx.jobs.queued() == []


def test_move_happens_once(store: Store, request: pytest.FixtureRequest) -> None:
    ref = start(store, add_job(store).id)

    def end() -> None:
        with store.begin() as tx:
            tx.attempts.end(ref, reason=ReasonCode.NODE_LOST, message=None, now=NOW)
            tx.jobs.move(ref, S.QUEUED, now=NOW, retries_used=1)

    lose_answer = request.getfixturevalue("lose_answer")
    with pytest.raises(ServiceUnavailableError):
        end()
    lose_answer.undo()
    before = get_job(store, ref.id)
    assert (before.status, before.retries_used) == (S.QUEUED, 1)
    with pytest.raises(StaleJobError):
        end()
    assert get_job(store, ref.id) == before


def test_wish_to_stop_is_the_same_the_second_time(store: Store, request: pytest.FixtureRequest) -> None:
    ref = start(store, add_job(store).id)
    with store.begin() as tx:
        tx.jobs.move(ref, S.PAUSING, now=NOW, stop_kind=StopKind.DRAIN)

    def pause() -> StopKind:
        with store.begin() as tx:
            return tx.jobs.set_stop_kind(ref, StopKind.PAUSE)

    lose_answer = request.getfixturevalue("lose_answer")
    with pytest.raises(ServiceUnavailableError):
        pause()
    lose_answer.undo()
    before = get_job(store, ref.id)
    assert pause() is StopKind.PAUSE
    assert get_job(store, ref.id) == before


def test_checkpoint_is_there_once(store: Store, request: pytest.FixtureRequest) -> None:
    ref = start(store, add_job(store).id)

    def commit() -> None:
        with store.begin() as tx:
            tx.checkpoints.add(ref, checkpoint(ref.id, 10, size_bytes=5))

    lose_answer = request.getfixturevalue("lose_answer")
    with pytest.raises(ServiceUnavailableError):
        commit()
    lose_answer.undo()
    commit()
    with store.read() as tx:
        assert tx.checkpoints.of_job(ref.id) == [checkpoint(ref.id, 10, size_bytes=5)]
        assert tx.usage.disk_bytes("local") == 5


def test_store_goes_on(store: Store, lose_answer: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServiceUnavailableError):
        add_job(store)
    lose_answer.undo()
    job = add_job(store)
    with store.begin() as tx:
        tx.events.append(job.ref, [log_event("on")])
    assert get_job(store, job.id).last_seq == 2

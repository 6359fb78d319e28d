"""`move` obeys the table of transitions and the attempt's number."""

import pytest

from ftlab.schemas import EventKind
from ftlab.status import TRANSITIONS, JobStatus, ReasonCode
from tests.unit.tracking.samples import NOW, add_job, claim, get_job, later, reach, retry, start
from tracking.store import StaleJobError, Store
from tracking.store.records import JobRef

S = JobStatus


@pytest.mark.parametrize("source", list(JobStatus))
def test_every_pair_of_statuses(store: Store, source: JobStatus) -> None:
    for target in JobStatus:
        ref = reach(store, source)
        before = get_job(store, ref.id)
        assert before.status is source
        if target in TRANSITIONS[source]:
            with store.begin() as tx:
                event = tx.jobs.move(ref, target, now=later(1))
            after = get_job(store, ref.id)
            assert (after.status, after.message) == (target, target.sentence)
            assert (event.seq, event.kind) == (after.last_seq, EventKind.STATUS)
        else:
            with pytest.raises(StaleJobError), store.begin() as tx:
                tx.jobs.move(ref, target, now=later(1))
            assert get_job(store, ref.id) == before


def test_event_tells_what_the_row_tells(store: Store) -> None:
    ref = reach(store, S.RUNNING)
    with store.begin() as tx:
        event = tx.jobs.move(ref, S.FAILED, now=later(5), message="Out of memory.", reason=ReasonCode.DEVICE_OOM)
    job = get_job(store, ref.id)
    assert (job.message, job.reason, job.finished_at) == (
        "Out of memory.",
        ReasonCode.DEVICE_OOM,
        later(5),
    )
    assert event.data == {"status": "failed", "message": "Out of memory.", "reason": "device_oom"}
    with store.read() as tx:
        assert tx.events.after(ref.id, event.seq - 1) == [event]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (S.COMPLETED, ReasonCode.OK),
        (S.FAILED, ReasonCode.INTERNAL_ERROR),
        (S.CANCELLED, ReasonCode.USER_CANCELLED),
    ],
)
def test_terminal_job_always_has_a_reason(store: Store, target: JobStatus, reason: ReasonCode) -> None:
    job = get_job(store, reach(store, target).id)
    assert job.reason is reason
    assert job.finished_at == NOW


def test_reason_of_a_job_that_goes_on_is_not_kept(store: Store) -> None:
    ref = reach(store, S.RUNNING)
    with store.begin() as tx:
        tx.jobs.move(ref, S.QUEUED, now=NOW, reason=ReasonCode.NODE_LOST)
    job = get_job(store, ref.id)
    assert (job.reason, job.finished_at) == (None, None)


def test_started_at_is_the_first_start(store: Store) -> None:
    ref = start(store, add_job(store).id)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.NODE_LOST, message=None, now=later(1))
        tx.jobs.move(ref, S.QUEUED, now=later(1))
    ref = claim(store, ref.id, now=later(2))
    with store.begin() as tx:
        tx.jobs.move(ref, S.INITIALIZING, now=later(3))
        tx.jobs.move(ref, S.RUNNING, now=later(4))
    job = get_job(store, ref.id)
    assert (job.started_at, job.updated_at, job.attempt) == (NOW, later(4), 2)


def test_fields_change_with_the_status(store: Store) -> None:
    ref = reach(store, S.RUNNING)
    with store.begin() as tx:
        tx.jobs.move(ref, S.QUEUED, now=NOW, retries_used=2, not_before=later(30), priority=7)
    job = get_job(store, ref.id)
    assert (job.retries_used, job.not_before, job.priority) == (2, later(30), 7)
    with store.begin() as tx:
        tx.jobs.move(ref, S.PAUSED, now=NOW)
        tx.jobs.move(ref, S.QUEUED, now=NOW)
    job = get_job(store, ref.id)
    assert (job.retries_used, job.not_before, job.priority) == (2, None, 7)


def test_stale_attempt_moves_nothing(store: Store) -> None:
    stale = start(store, add_job(store).id)
    newest = retry(store, stale)
    before = get_job(store, stale.id)
    for ref in (stale, JobRef(stale.id, 0), JobRef(stale.id, newest.attempt + 1), JobRef("job-none", 1)):
        with pytest.raises(StaleJobError) as caught, store.begin() as tx:
            tx.jobs.move(ref, S.FAILED, now=NOW)
        assert (caught.value.status, caught.value.code) == (409, "stale_job")
    assert get_job(store, stale.id) == before


def test_refused_move_undoes_its_transaction(store: Store) -> None:
    ref = reach(store, S.RUNNING)

    def end_and_move() -> None:
        with store.begin() as tx:
            tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW)
            tx.jobs.move(ref, S.CANCELLED, now=NOW)

    with pytest.raises(StaleJobError):
        end_and_move()
    with store.read() as tx:
        assert tx.attempts.get(ref).ended_at is None


def test_garbled_message_is_kept(store: Store) -> None:
    ref = reach(store, S.RUNNING)
    with store.begin() as tx:
        event = tx.jobs.move(ref, S.FAILED, now=NOW, message="bad \x00 and \ud800")
    assert get_job(store, ref.id).message == event.data["message"] == "bad \ufffd and ?"

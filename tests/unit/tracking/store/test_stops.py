"""Pausing, and what belongs to one status only."""

import pytest

from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.tracking.samples import NOW, add_job, at_once, claim, get_job, later, reach, retry, start
from tracking.store import StaleJobError, Store
from tracking.store.records import JobRef, JobState

S = JobStatus
WISHES = [StopKind.DRAIN, StopKind.PREEMPT, StopKind.TIME_LIMIT, StopKind.PAUSE]


def stop(store: Store, ref: JobRef, kind: StopKind) -> StopKind:
    with store.begin() as tx:
        return tx.jobs.set_stop_kind(ref, kind)


def pausing(store: Store, kind: StopKind) -> JobRef:
    ref = start(store, add_job(store).id)
    with store.begin() as tx:
        tx.jobs.move(ref, S.PAUSING, now=NOW, stop_kind=kind)
    return ref


def test_only_the_live_attempt_forgets_the_choice_of_a_resume(store: Store) -> None:
    first = pausing(store, StopKind.PAUSE)
    with store.begin() as tx:
        tx.attempts.end(first, reason=ReasonCode.OK, message=None, now=NOW)
        tx.jobs.move(first, S.PAUSED, now=NOW)
        tx.jobs.move(first, S.QUEUED, now=NOW, resume_from="step-00000040")
        tx.jobs.forget_resume_choice(first)
        assert tx.jobs.get(first.id).resume_from == "step-00000040"
    second = claim(store, first.id)
    with store.begin() as tx:
        tx.jobs.forget_resume_choice(first)
        assert tx.jobs.get(first.id).resume_from == "step-00000040"
        tx.jobs.forget_resume_choice(second)
        assert tx.jobs.get(first.id).resume_from is None


def test_heartbeat_tells_why_to_stop(store: Store) -> None:
    ref = pausing(store, StopKind.PREEMPT)
    with store.begin() as tx:
        assert tx.attempts.heartbeat(ref, now=NOW) == JobState(S.PAUSING, StopKind.PREEMPT)
    stop(store, ref, StopKind.PAUSE)
    with store.begin() as tx:
        assert tx.attempts.heartbeat(ref, now=NOW) == JobState(S.PAUSING, StopKind.PAUSE)
        tx.jobs.move(ref, S.CANCELLING, now=NOW)
        assert tx.attempts.heartbeat(ref, now=NOW) == JobState(S.CANCELLING, None)


def test_pausing_without_a_reason_is_the_users_pause(store: Store) -> None:
    ref = reach(store, S.PAUSING)
    assert get_job(store, ref.id).stop_kind is StopKind.PAUSE


@pytest.mark.parametrize("held", WISHES)
@pytest.mark.parametrize("wish", WISHES)
def test_the_more_urgent_wish_holds(store: Store, held: StopKind, wish: StopKind) -> None:
    ref = pausing(store, held)
    expected = max(held, wish, key=lambda kind: kind.urgency)
    assert stop(store, ref, wish) is expected
    assert get_job(store, ref.id).stop_kind is expected


def test_wishes_at_the_same_time(store: Store) -> None:
    for _ in range(5):
        ref = pausing(store, StopKind.DRAIN)

        def wish(number: int, ref: JobRef = ref) -> StopKind:
            return stop(store, ref, WISHES[number])

        assert all(isinstance(held, StopKind) for held in at_once(4, wish))
        assert get_job(store, ref.id).stop_kind is StopKind.PAUSE


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not S.PAUSING])
def test_only_a_pausing_job_is_stopped(store: Store, status: JobStatus) -> None:
    ref = reach(store, status)
    before = get_job(store, ref.id)
    with pytest.raises(StaleJobError):
        stop(store, ref, StopKind.PAUSE)
    assert get_job(store, ref.id) == before


def test_another_attempt_is_not_stopped(store: Store) -> None:
    ref = pausing(store, StopKind.DRAIN)
    for other in (JobRef(ref.id, ref.attempt + 1), JobRef(ref.id, 0), JobRef("job-none", 1)):
        with pytest.raises(StaleJobError):
            stop(store, other, StopKind.PAUSE)
    assert get_job(store, ref.id).stop_kind is StopKind.DRAIN


def test_a_pause_and_the_end_of_the_drain_at_the_same_time(store: Store) -> None:
    """Either the user's pause counts, or the user is told that it came too late; never neither."""
    for _ in range(10):
        ref = pausing(store, StopKind.DRAIN)

        def pause_or_settle(side: int, ref: JobRef = ref) -> JobStatus | None:
            if side:
                stop(store, ref, StopKind.PAUSE)
                return None
            with store.begin() as tx:
                kind = tx.jobs.lock(ref).stop_kind
                target = S.PAUSED if kind is StopKind.PAUSE else S.QUEUED
                tx.jobs.move(ref, target, now=NOW)
                return target

        settled, paused = at_once(2, pause_or_settle)
        assert settled is (S.PAUSED if paused is None else S.QUEUED)
        assert paused is None or isinstance(paused, StaleJobError)
        assert get_job(store, ref.id).stop_kind is None


@pytest.mark.parametrize("target", [S.PAUSED, S.QUEUED, S.CANCELLING, S.COMPLETED, S.FAILED])
def test_the_wish_ends_with_the_pausing(store: Store, target: JobStatus) -> None:
    ref = pausing(store, StopKind.PREEMPT)
    with store.begin() as tx:
        tx.jobs.move(ref, target, now=NOW)
    assert get_job(store, ref.id).stop_kind is None


def test_paused_at_is_there_while_the_job_is_paused(store: Store) -> None:
    ref = pausing(store, StopKind.PAUSE)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=later(1))
        tx.jobs.move(ref, S.PAUSED, now=later(2))
    assert get_job(store, ref.id).paused_at == later(2)
    with store.begin() as tx:
        tx.jobs.move(ref, S.QUEUED, now=later(3))
    assert get_job(store, ref.id).paused_at is None


def test_chosen_checkpoint_stays_until_the_job_runs(store: Store) -> None:
    job = add_job(store)
    with store.begin() as tx:
        tx.jobs.move(job.ref, S.PAUSED, now=NOW)
        tx.jobs.move(job.ref, S.QUEUED, now=NOW, resume_from="step-00000040")
    ref = claim(store, job.id)
    with store.begin() as tx:
        tx.jobs.move(ref, S.INITIALIZING, now=NOW)
        tx.attempts.end(ref, reason=ReasonCode.WORKER_CRASHED, message=None, now=NOW)
        tx.jobs.move(ref, S.QUEUED, now=NOW)
    assert get_job(store, job.id).resume_from == "step-00000040"
    ref = start(store, job.id)
    assert get_job(store, job.id).resume_from is None
    retry(store, ref)
    assert get_job(store, job.id).resume_from is None

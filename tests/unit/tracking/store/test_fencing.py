"""An old coordinator or an old attempt that writes at the very moment it is replaced."""

import pytest

from ftlab.errors import ConflictError
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import (
    NOW,
    add_job,
    at_once,
    checkpoint,
    get_job,
    hold_lease,
    later,
    retry,
    start,
)
from tracking.store import StaleJobError, Store
from tracking.store.records import JobRecord, JobRef

NUM_RACES = 25


def test_no_claim_after_the_lease_was_taken(store: Store) -> None:
    for number in range(NUM_RACES):
        job = add_job(store)
        with store.begin() as tx:
            old = tx.leases.acquire("coordinator", f"old-{number}", ttl_s=10, now=NOW)

        def claim_or_take(side: int, job: JobRecord = job, epoch: int = old.epoch) -> JobStatus:
            if side:
                with store.begin() as tx:
                    tx.leases.acquire("coordinator", f"new-{epoch}", ttl_s=10, now=NOW)
            else:
                with store.begin() as tx:
                    tx.jobs.claim(job.id, driver="d", cpus=1, gpus=0, epoch=epoch, now=NOW)
            return get_job(store, job.id).status

        claimed, seen_by_new = at_once(2, claim_or_take)
        final = get_job(store, job.id).status
        assert seen_by_new is final
        assert isinstance(claimed, StaleJobError) == (final is JobStatus.QUEUED)


def test_locked_job_stays_as_it_is(store: Store) -> None:
    """What a settling coordinator has read still holds when it moves the job."""
    for _ in range(NUM_RACES):
        ref = start(store, add_job(store).id)

        def pause_or_settle(side: int, ref: JobRef = ref) -> JobStatus:
            with store.begin() as tx:
                if side:
                    return JobStatus(tx.jobs.move(ref, JobStatus.PAUSING, now=NOW).data["status"])
                seen = tx.jobs.lock(ref).status
                tx.attempts.end(ref, reason=ReasonCode.NODE_LOST, message=None, now=NOW)
                tx.jobs.move(ref, JobStatus.PAUSED if seen is JobStatus.PAUSING else JobStatus.QUEUED, now=NOW)
                return seen

        seen, paused = at_once(2, pause_or_settle)
        assert (seen is JobStatus.PAUSING) == (paused is JobStatus.PAUSING)
        final = JobStatus.PAUSED if paused is JobStatus.PAUSING else JobStatus.QUEUED
        assert get_job(store, ref.id).status is final


def test_an_older_attempt_locks_nothing(store: Store) -> None:
    stale = start(store, add_job(store).id)
    newest = retry(store, stale)
    for ref in (stale, JobRef("job-none", 1)):
        with pytest.raises(StaleJobError), store.begin() as tx:
            tx.jobs.lock(ref)
    with store.begin() as tx:
        assert tx.jobs.lock(newest) == tx.jobs.get(newest.id)


def test_no_write_of_an_attempt_after_its_end(store: Store) -> None:
    hold_lease(store)
    for number in range(NUM_RACES):
        ref = start(store, add_job(store).id)

        def write_or_end(side: int, step: int = number + 1, ref: JobRef = ref) -> JobRecord | None:
            if side:
                with store.begin() as tx:
                    tx.attempts.end(ref, reason=ReasonCode.WORKER_HUNG, message=None, now=NOW)
                    tx.jobs.move(ref, JobStatus.QUEUED, now=NOW)
                return get_job(store, ref.id)
            with store.begin() as tx:
                tx.attempts.heartbeat(ref, now=later(1))
                tx.checkpoints.add(ref, checkpoint(ref.id, step))
                tx.jobs.record_progress(ref, step=step, total_steps=99, epoch=None, now=NOW)
            return None

        written, at_end = at_once(2, write_or_end)
        assert written is None or isinstance(written, ConflictError)
        assert isinstance(at_end, JobRecord)
        assert get_job(store, ref.id) == at_end
        with store.read() as tx:
            assert len(tx.checkpoints.of_job(ref.id)) == (written is None)
        assert (at_end.step == 0) == (written is not None)

"""Bringing a submitted job into any status."""

from datetime import UTC, datetime

from ftlab.status import ATTEMPT_STATUSES, JobStatus, ReasonCode, StopKind
from tracking.store import Store
from tracking.store.records import JobRef

NOW = datetime(2030, 1, 1, tzinfo=UTC)
S = JobStatus

WAYS: dict[JobStatus, tuple[JobStatus, ...]] = {
    S.QUEUED: (),
    S.PENDING: (S.PENDING,),
    S.INITIALIZING: (S.PENDING, S.INITIALIZING),
    S.RUNNING: (S.PENDING, S.INITIALIZING, S.RUNNING),
    S.PAUSING: (S.PENDING, S.INITIALIZING, S.RUNNING, S.PAUSING),
    S.PAUSED: (S.PENDING, S.INITIALIZING, S.RUNNING, S.PAUSING, S.PAUSED),
    S.CANCELLING: (S.PENDING, S.INITIALIZING, S.RUNNING, S.CANCELLING),
    S.COMPLETED: (S.PENDING, S.INITIALIZING, S.RUNNING, S.COMPLETED),
    S.FAILED: (S.PENDING, S.INITIALIZING, S.RUNNING, S.FAILED),
    S.CANCELLED: (S.CANCELLING, S.CANCELLED),
}


def bring(store: Store, job_id: str, status: JobStatus, stop_kind: StopKind | None = None) -> JobRef:
    """Take a queued job to a status the way that a service does; give its reference.

    `stop_kind` is why a job is pausing, by default because the user wants it.
    """
    ref = JobRef(job_id, 0)
    for step in WAYS[status]:
        with store.begin() as tx:
            if step is S.PENDING:
                lease = tx.leases.acquire("coordinator", "test", ttl_s=3600, now=datetime.now(UTC))
                attempt = tx.jobs.claim(job_id, driver="run-1", cpus=1, gpus=0, epoch=lease.epoch, now=NOW)
                ref = JobRef(job_id, attempt.number)
            elif step is S.PAUSING:
                tx.jobs.move(ref, step, now=NOW, stop_kind=stop_kind or StopKind.PAUSE)
            else:
                if step not in ATTEMPT_STATUSES and ref.attempt:
                    tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW)
                tx.jobs.move(ref, step, now=NOW)
    return ref

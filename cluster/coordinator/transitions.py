"""Changes of a job's status, and the end of an attempt."""

import logging
from collections.abc import Sequence
from typing import Unpack

from cluster.coordinator.tick import Tick
from cluster.events.documents import to_documents
from ftlab.status import JobStatus, ReasonCode
from tracking.store import StaleJobError
from tracking.store.jobs import MoveFields
from tracking.store.records import AttemptRecord, EventRecord, JobRecord, JobRef, NewEvent

logger = logging.getLogger(__name__)


def move_job(
    tick: Tick,
    job: JobRecord,
    target: JobStatus,
    *,
    message: str | None = None,
    reason: ReasonCode | None = None,
    to_front: bool = False,
    notices: Sequence[NewEvent] = (),
    **fields: Unpack[MoveFields],
) -> bool:
    """Change the status of a job that is still as `job` says, and publish it, with `notices` before it.

    `False` when the job, or what was requested of it, has changed meanwhile: the next tick decides again.
    """
    try:
        with tick.store.begin() as tx:
            require_unchanged(tx.jobs.lock(job.ref), job)
            if to_front:
                fields["queue_shift"] = tx.jobs.front_shift(job.priority)
            events = tx.events.append(job.ref, notices)
            events.append(tx.jobs.move(job.ref, target, now=tick.now, message=message, reason=reason, **fields))
    except StaleJobError as error:
        logger.info("%s", error)
        return False
    publish(tick, events)
    return True


def end_attempt(tick: Tick, attempt: AttemptRecord, reason: ReasonCode, message: str) -> None:
    """Fence the attempt in the database first, then end its processes and release its devices."""
    with tick.store.begin() as tx:
        tx.attempts.end(JobRef(attempt.job_id, attempt.number), reason=reason, message=message, now=tick.now)
    tick.drivers.end(attempt.driver)
    tick.cluster.release(attempt.placement_groups)


def publish(tick: Tick, events: Sequence[EventRecord]) -> None:
    tick.hub.publish(to_documents(events))


def require_unchanged(now: JobRecord, then: JobRecord) -> None:
    """A request that was accepted after `then` was read must not be lost in a move that was decided without it."""
    if _requests_of(now) != _requests_of(then):
        raise StaleJobError(f"Job {now.id!r} has changed in the meantime (it is {now.status.value} now).")


def _requests_of(job: JobRecord) -> tuple[object, ...]:
    return job.status, job.stop_kind, job.resume_from, job.config

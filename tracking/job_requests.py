"""Requests about one job, in a transaction of the caller: cancel and pause, for users and for sweeps."""

from datetime import datetime

from ftlab.errors import ConflictError
from ftlab.schemas import NoticePayload
from ftlab.status import JobStatus, ReasonCode, StopKind
from tracking.store import Transaction
from tracking.store.records import EventRecord, JobRecord, NewEvent

S = JobStatus


def cancel_job(tx: Transaction, record: JobRecord, now: datetime) -> list[EventRecord]:
    """Stop the job, at once where nothing of it runs; raise `ConflictError` when it has ended."""
    require_unfinished(record)
    events = []
    if record.status is not S.CANCELLING:
        events.append(tx.jobs.move(record.ref, S.CANCELLING, now=now))
    if record.status in (S.QUEUED, S.PAUSED):
        events.append(tx.jobs.move(record.ref, S.CANCELLED, now=now, reason=ReasonCode.USER_CANCELLED))
    return events


def pause_job(tx: Transaction, record: JobRecord, now: datetime) -> list[EventRecord]:
    """Pause the job, at once while it is queued; raise `ConflictError` when it is paused, cancelling, or has ended."""
    require_unfinished(record)
    match record.status:
        case S.CANCELLING:
            raise refused(record, "job_cancelling", "it cannot be paused any more")
        case S.PAUSED:
            raise refused(record, "job_paused", "it does not hold any devices")
        case S.QUEUED:
            message = (
                None
                if record.attempt
                else "The job was paused before it started; resume it to put it back into the queue."
            )
            return [tx.jobs.move(record.ref, S.PAUSED, now=now, message=message)]
        case S.PAUSING if record.stop_kind is StopKind.PAUSE:
            return []
        case S.PAUSING:
            tx.jobs.set_stop_kind(record.ref, StopKind.PAUSE)
            message = "The job stays paused once its checkpoint is saved."
            return notice(tx, record, now, "pause_requested", message)
    return [tx.jobs.move(record.ref, S.PAUSING, now=now, stop_kind=StopKind.PAUSE)]


def notice(tx: Transaction, record: JobRecord, now: datetime, code: str, message: str) -> list[EventRecord]:
    """Write a notice into the job's event log."""
    return tx.events.append(record.ref, [NewEvent(NoticePayload(code=code, message=message), now)])


def require_unfinished(record: JobRecord) -> None:
    """Raise `ConflictError` (code `job_ended`) for a job that has ended."""
    if record.status.is_terminal:
        raise ConflictError(f"Job {record.id!r} has ended with status {record.status}.", "job_ended")


def refused(record: JobRecord, code: str, why: str) -> ConflictError:
    """The error for a request that does not fit the job's status."""
    return ConflictError(f"Job {record.id!r} is {record.status}: {why}.", code)

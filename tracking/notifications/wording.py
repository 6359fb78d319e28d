"""What the events of a job's log mean to its owner: one notification for each life event. Pure functions."""

from collections.abc import Iterator, Sequence

from ftlab.schemas import EventKind, FailureAnalysis, FailurePayload, NoticePayload, StatusPayload
from ftlab.schemas.adjustments import AdjustedBy
from ftlab.schemas.events import ALARMS, AdjustedPayload
from ftlab.schemas.notifications import NotificationKind
from ftlab.status import ATTEMPT_STATUSES, JobKind, JobStatus
from tracking.store.notifications import JobCursor, NewNotification
from tracking.store.records import EventRecord

NOTIFIED_KINDS = (EventKind.STATUS, EventKind.NOTICE)
"""Kinds of events that notifications are made from."""
MAX_MESSAGE_CHARS = 2000

K = NotificationKind

BY_STATUS = {
    JobStatus.RUNNING: K.STARTED,
    JobStatus.COMPLETED: K.COMPLETED,
    JobStatus.FAILED: K.FAILED,
    JobStatus.CANCELLED: K.CANCELLED,
    JobStatus.PAUSED: K.PAUSED,
}
TITLES = {
    K.SUBMITTED: "{} was submitted",
    K.STARTED: "{} is training",
    K.COMPLETED: "{} completed",
    K.FAILED: "{} failed",
    K.CANCELLED: "{} was cancelled",
    K.PAUSED: "{} is paused",
    K.RESUMED: "{} was resumed",
    K.RETRIED: "{} is retried",
    K.RECOVERED: "{} continues with other settings",
    K.REQUEUED: "{} is queued again",
    K.ALARM: "{}: alarm",
}


def notifications_of(
    job: JobCursor, events: Sequence[EventRecord], previous: JobStatus | None
) -> Iterator[NewNotification]:
    """The notifications about new events of a job, whose status before them was `previous`; `None` before the first.

    The service writes the analysis of a failure, and an automatic change of the config, directly before the status that
    follows from it. Engines come and go with requests: of their lives, only a failure is one to notify of.
    """
    analysis: FailureAnalysis | None = None
    is_recovery = False
    for event in events:
        payload = event.payload
        if isinstance(payload, FailurePayload):
            analysis = payload.analysis
        elif isinstance(payload, AdjustedPayload):
            is_recovery = payload.by is AdjustedBy.AUTOMATIC
        elif isinstance(payload, NoticePayload) and payload.code in ALARMS:
            yield _new(job, event, K.ALARM, payload.message)
        elif isinstance(payload, StatusPayload):
            kind = _kind(payload.status, previous, is_failure=analysis is not None, is_recovery=is_recovery)
            if kind is not None and (kind is K.FAILED or job.kind is not JobKind.ENGINE):
                yield _of_status(job, event, kind, payload, analysis)
            previous, analysis, is_recovery = payload.status, None, False


def _kind(
    status: JobStatus, previous: JobStatus | None, *, is_failure: bool, is_recovery: bool
) -> NotificationKind | None:
    if status is not JobStatus.QUEUED:
        return BY_STATUS.get(status)
    if previous is None:
        return K.SUBMITTED
    if previous not in ATTEMPT_STATUSES:
        return K.RESUMED
    if is_failure:
        return K.RECOVERED if is_recovery else K.RETRIED
    return K.REQUEUED


def _of_status(
    job: JobCursor,
    event: EventRecord,
    kind: NotificationKind,
    payload: StatusPayload,
    analysis: FailureAnalysis | None,
) -> NewNotification:
    if analysis is None:
        return _new(job, event, kind, payload.message, reason=payload.reason)
    parts = [payload.message]
    if kind is K.FAILED:
        parts += [] if analysis.sentence in payload.message else [analysis.sentence]
        if analysis.suggestions:
            changes = ", ".join(change.text for change in analysis.suggestions[0].changes)
            parts.append(f"Suggested change: {changes}.")
        parts.append(f"'ftlab why {job.id}' shows the evidence.")
    reason = payload.reason or analysis.reason
    return _new(job, event, kind, " ".join(parts), reason=reason, cause=analysis.cause)


def _title(job: JobCursor, kind: NotificationKind) -> str:
    return "{} has started" if kind is K.STARTED and job.kind is not JobKind.TRAINING else TITLES[kind]


def _new(job: JobCursor, event: EventRecord, kind: NotificationKind, message: str, **more: object) -> NewNotification:
    if len(message) > MAX_MESSAGE_CHARS:
        message = f"{message[:MAX_MESSAGE_CHARS]}..."
    return NewNotification(
        kind=kind,
        title=_title(job, kind).format(job.name),
        message=message,
        at=event.at,
        job_id=job.id,
        job_name=job.name,
        event_seq=event.seq,
        **more,  # type: ignore[arg-type]
    )

"""What follows an attempt that ended: pure, by the class of its reason, or by why it was stopped."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ftlab.backoff import backoff_s
from ftlab.status import RETRY_CLASSES, JobStatus, ReasonCode, RetryClass, StopKind

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
STOP_REASONS = {
    StopKind.CANCEL: ReasonCode.USER_CANCELLED,
    StopKind.PAUSE: ReasonCode.OK,
    StopKind.TIME_LIMIT: ReasonCode.TIME_LIMIT,
    StopKind.PREEMPT: ReasonCode.PREEMPTED,
    StopKind.EXTEND: ReasonCode.OK,
    StopKind.DRAIN: ReasonCode.SERVICE_RESTARTED,
}
"""The reason of an attempt that was stopped."""
SURVIVED_STOPS = frozenset({*STOP_REASONS.values(), ReasonCode.DISK_FULL})
"""Reasons after which a job that was to stop can go on later. A last checkpoint for which the disk had no room is the
attempt's loss only: the one before is intact."""


@dataclass(frozen=True)
class Retry:
    """Queue the job again; it may start from `not_before` on."""

    not_before: datetime
    retries_used: int


@dataclass(frozen=True)
class GiveUp:
    reason: ReasonCode
    message: str


@dataclass(frozen=True)
class Rest:
    """The stop has come to its end as it was meant to."""

    status: JobStatus
    message: str
    reason: ReasonCode | None = None
    to_front: bool = False
    """Ahead of all jobs of its priority."""


def after_attempt(
    reason: ReasonCode, message: str, *, retries_used: int, max_retries: int, now: datetime
) -> Retry | GiveUp:
    """Decide by `RETRY_CLASSES`; a counted retry waits twice as long as the one before, up to a minute."""
    match RETRY_CLASSES[reason]:
        case RetryClass.NEVER:
            return GiveUp(reason, message)
        case RetryClass.FREE:
            return Retry(now, retries_used)  # at once: the job keeps its place in the queue
        case RetryClass.BUDGET if retries_used >= max_retries:
            tries = "once" if retries_used == 0 else f"{retries_used + 1} times"
            return GiveUp(
                ReasonCode.RETRY_BUDGET_EXHAUSTED,
                f"Tried {tries}; the last attempt ended with {reason.value}: {message}",
            )
    wait_s = backoff_s(retries_used + 1, first_s=FIRST_BACKOFF_S, longest_s=LONGEST_BACKOFF_S)
    return Retry(now + timedelta(seconds=wait_s), retries_used + 1)


def after_stop(kind: StopKind, reason: ReasonCode, message: str, *, step: int, saved_step: int | None) -> Rest | GiveUp:
    """Decide by why the job was asked to stop, however its attempt then ended; its retries are not touched.

    `step` is the newest step that was told, `saved_step` that of the newest checkpoint. A job that failed by its own
    fault before it could stop is given up.
    """
    if RETRY_CLASSES[reason] is RetryClass.NEVER and reason not in SURVIVED_STOPS:
        return GiveUp(reason, message)
    if reason is ReasonCode.TIME_LIMIT and kind.urgency < StopKind.TIME_LIMIT.urgency:
        kind = StopKind.TIME_LIMIT  # the run saw it first
    goes_on = _goes_on(step, saved_step)
    match kind:
        case StopKind.TIME_LIMIT:
            return Rest(JobStatus.FAILED, time_is_up(saved_step), ReasonCode.TIME_LIMIT)
        case StopKind.PREEMPT:
            text = f"Queued again after {ReasonCode.PREEMPTED.value}: a job of higher priority needed the devices."
            return Rest(JobStatus.QUEUED, f"{text} {goes_on}", to_front=True)
        case StopKind.EXTEND:
            return Rest(JobStatus.QUEUED, f"Queued again, as files were appended. {goes_on}", to_front=True)
        case StopKind.DRAIN:
            text = f"Queued again after {ReasonCode.SERVICE_RESTARTED.value}: the service was stopped."
            return Rest(JobStatus.QUEUED, f"{text} {goes_on}")
    cause = "" if reason in STOP_REASONS.values() else f" Its last attempt ended with {reason.value}: {message}"
    return Rest(JobStatus.PAUSED, f"The job is paused. {goes_on}{cause}")


def time_is_up(saved_step: int | None) -> str:
    """What a job that has used up its time limit is told."""
    if saved_step is None:
        return "The job's time_limit_s was used up before its first checkpoint. Submit it again with more time."
    return (
        f"The job's time_limit_s is used up. Its checkpoint of step {saved_step} is kept: "
        "submit it again with more time, or go on from the checkpoint with a new job."
    )


def _goes_on(step: int, saved_step: int | None) -> str:
    if saved_step is None:
        return "It has no checkpoint yet and begins anew." if step else "It has not begun to train."
    lost = f"; what came after it, up to step {step}, is trained again" if step > saved_step else ""
    return f"It goes on from its checkpoint of step {saved_step}{lost}."

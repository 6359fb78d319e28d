"""Decide what happens after an attempt ends: retry, give up, or stay stopped. Pure functions.

An attempt that ended by itself (`after_attempt`), by the class of its reason in `RETRY_CLASSES`:

| class    | reasons, for example      | decision                                             |
|----------|---------------------------|------------------------------------------------------|
| `FREE`   | node_lost, preempted      | `Retry` at once, not counted                         |
| `BUDGET` | worker_crashed, gpu_lost  | `Retry` in 1, 2, 4, ... 60 s, counted; then `GiveUp` |
| `NEVER`  | device_oom, loss_diverged | `GiveUp`                                             |

An attempt that was requested to stop (`after_stop`), by the kind of the stop; `GiveUp` where the job failed by its own
fault before it could stop:

| kind                | `Stopped`: the job is                     |
|---------------------|-------------------------------------------|
| `PAUSE`             | paused                                    |
| `PREEMPT`, `EXTEND` | queued, ahead of the jobs of its priority |
| `DRAIN`             | queued                                    |
| the same, an engine | completed                                 |
| `TIME_LIMIT`        | failed, with its checkpoint kept          |
| `COST_LIMIT`        | failed, with its checkpoint kept          |
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ftlab.backoff import backoff_s
from ftlab.status import RETRY_CLASSES, JobKind, JobStatus, ReasonCode, RetryClass, StopKind

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
STOP_REASONS = {
    StopKind.CANCEL: ReasonCode.USER_CANCELLED,
    StopKind.PAUSE: ReasonCode.OK,
    StopKind.TIME_LIMIT: ReasonCode.TIME_LIMIT,
    StopKind.COST_LIMIT: ReasonCode.COST_LIMIT,
    StopKind.PREEMPT: ReasonCode.PREEMPTED,
    StopKind.EXTEND: ReasonCode.OK,
    StopKind.DRAIN: ReasonCode.SERVICE_RESTARTED,
}
"""The reason with which a stopped attempt ends."""
LIMITS = {ReasonCode.TIME_LIMIT: StopKind.TIME_LIMIT, ReasonCode.COST_LIMIT: StopKind.COST_LIMIT}
"""The limits of a job that a run finds used up by itself, by the reason with which it then ends."""
SURVIVED_STOPS = frozenset({*STOP_REASONS.values(), ReasonCode.DISK_FULL})
"""Reasons after which a job that was requested to stop can continue later. Where the disk had no room for the last
checkpoint, the one before is intact."""


CONTINUES = {
    JobKind.EVALUATION: "It continues with the rows that are not measured yet.",
    JobKind.EXPORT: "It continues with the artifacts that are not complete yet.",
}
"""How a job of a kind without checkpoints continues after a stop."""

ENDS_AN_ENGINE = {
    StopKind.PREEMPT: "It ended, as another job needed the devices. The next request starts another one.",
    StopKind.DRAIN: "It ended, as the service was stopped. The next request starts another one.",
}
"""Stops after which an engine does not wait for devices: it may be that nobody asks again, and a request that does, or
that waits, submits another one."""


@dataclass(frozen=True)
class Retry:
    """Queue the job again; it does not start before `not_before`."""

    not_before: datetime
    retries_used: int


@dataclass(frozen=True)
class GiveUp:
    """Fail the job."""

    reason: ReasonCode
    message: str


@dataclass(frozen=True)
class Stopped:
    """Give the job the status that its stop was requested for."""

    status: JobStatus
    message: str
    reason: ReasonCode | None = None
    to_front: bool = False
    """Ahead of all jobs of its priority."""


def after_attempt(
    reason: ReasonCode, message: str, *, retries_used: int, max_retries: int, now: datetime
) -> Retry | GiveUp:
    """Decide after an attempt that nobody requested to stop. A counted retry waits twice as long as the one before."""
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


def after_stop(
    kind: StopKind,
    reason: ReasonCode,
    message: str,
    *,
    step: int,
    saved_step: int | None,
    job_kind: JobKind = JobKind.TRAINING,
) -> Stopped | GiveUp:
    """Decide after an attempt that was requested to stop, however it then ended. The job's retries are not touched.

    `step` is the newest step that was reported, `saved_step` that of the newest checkpoint.
    """
    if RETRY_CLASSES[reason] is RetryClass.NEVER and reason not in SURVIVED_STOPS:
        return GiveUp(reason, message)
    if reason in LIMITS and kind.urgency < LIMITS[reason].urgency:
        kind = LIMITS[reason]  # the run saw it first
    if job_kind is JobKind.ENGINE and kind in ENDS_AN_ENGINE:
        return Stopped(JobStatus.COMPLETED, ENDS_AN_ENGINE[kind], ReasonCode.OK)
    continues = CONTINUES.get(job_kind) or _continues(step, saved_step)
    match kind:
        case StopKind.TIME_LIMIT | StopKind.COST_LIMIT:
            return Stopped(JobStatus.FAILED, limit_is_used_up(kind, saved_step, job_kind), STOP_REASONS[kind])
        case StopKind.PREEMPT:
            text = f"Queued again after {ReasonCode.PREEMPTED.value}: a job of higher priority needed the devices."
            return Stopped(JobStatus.QUEUED, f"{text} {continues}", to_front=True)
        case StopKind.EXTEND:
            return Stopped(JobStatus.QUEUED, f"Queued again because files were appended. {continues}", to_front=True)
        case StopKind.DRAIN:
            text = f"Queued again after {ReasonCode.SERVICE_RESTARTED.value}: the service was stopped."
            return Stopped(JobStatus.QUEUED, f"{text} {continues}")
    cause = "" if reason in STOP_REASONS.values() else f" Its last attempt ended with {reason.value}: {message}"
    return Stopped(JobStatus.PAUSED, f"The job is paused. {continues}{cause}")


def limit_is_used_up(kind: StopKind, saved_step: int | None, job_kind: JobKind = JobKind.TRAINING) -> str:
    """The message of a job that has used up its `time_limit_s` or its `max_cost`."""
    if job_kind is not JobKind.TRAINING:
        setting = "max_cost" if kind is StopKind.COST_LIMIT else "time_limit_s"
        return f"The job's {setting} is used up. Submit it again with a higher one."
    if kind is StopKind.COST_LIMIT:
        if saved_step is None:
            return "The job's max_cost was used up before its first checkpoint. Resume it with a higher max_cost."
        return (
            f"The job's max_cost is used up. Its checkpoint of step {saved_step} is kept: resume it with a higher "
            "max_cost to continue from there."
        )
    if saved_step is None:
        return "The job's time_limit_s was used up before its first checkpoint. Submit it again with more time."
    return (
        f"The job's time_limit_s is used up. Its checkpoint of step {saved_step} is kept: "
        "submit it again with more time, or continue from the checkpoint with a new job."
    )


def _continues(step: int, saved_step: int | None) -> str:
    if saved_step is None:
        return "It has no checkpoint yet and starts over." if step else "It has not started training."
    lost = f"; the steps after it, up to step {step}, are trained again" if step > saved_step else ""
    return f"It continues from its checkpoint of step {saved_step}{lost}."

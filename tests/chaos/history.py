"""What must hold in the record of one job, whatever has struck it: pure, over what the service tells of the job."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ftlab.schemas import Event, EventKind, Job
from ftlab.status import ATTEMPT_STATUSES, JobStatus, ReasonCode
from tracking.store.records import AttemptRecord, MetricRecord

REASONS = {JobStatus.COMPLETED: ReasonCode.OK, JobStatus.CANCELLED: ReasonCode.USER_CANCELLED}


def violations(
    job: Job, attempts: Sequence[AttemptRecord], events: Sequence[Event], points: Sequence[MetricRecord]
) -> Iterator[str]:
    """Sentences about what does not hold. `points` are those of the loss, by step."""
    yield from _of_events(job, events)
    yield from _of_attempts(job, attempts)
    yield from _of_end(job, events)
    yield from _of_steps(job, events, points)


def _of_events(job: Job, events: Sequence[Event]) -> Iterator[str]:
    if [event.seq for event in events] != list(range(1, job.last_seq + 1)):
        yield "its events have a gap or a double"
    if any(before.attempt > after.attempt for before, after in pairwise(events)):
        yield "an older attempt wrote after a newer one"


def _of_attempts(job: Job, attempts: Sequence[AttemptRecord]) -> Iterator[str]:
    """One after the other, by the time of the database."""
    if [attempt.number for attempt in attempts] != list(range(1, job.attempt + 1)):
        yield f"its attempts are {[attempt.number for attempt in attempts]} of {job.attempt}"
    for before, after in pairwise(attempts):
        if before.ended_at is None or before.ended_at > after.created_at:
            yield f"attempt {before.number} ended at {before.ended_at}, the next began at {after.created_at}"
    for attempt in attempts:
        if attempt.ended_at is not None and (attempt.reason is None or not attempt.message):
            yield f"attempt {attempt.number} ended for {attempt.reason} with {attempt.message!r}"
        if attempt.ended_at is None and job.status not in ATTEMPT_STATUSES:
            yield f"attempt {attempt.number} of a job that is {job.status} lives"


def _of_end(job: Job, events: Sequence[Event]) -> Iterator[str]:
    """One status, one reason, one sentence."""
    statuses = [event.data["status"] for event in events if event.kind is EventKind.STATUS]
    if statuses[-1:] != [job.status]:
        yield f"its log ends with {statuses[-1:]}, and it is {job.status}"
    if sum(JobStatus(status).is_terminal for status in statuses) != int(job.status.is_terminal) + _num_resumed(events):
        yield f"it did not end once, and once for each resume: {statuses}"
    if not job.message.endswith("."):
        yield f"its message is no sentence: {job.message!r}"
    if (job.reason is None) is job.status.is_terminal or job.reason is not REASONS.get(job.status, job.reason):
        yield f"it is {job.status} for the reason {job.reason}"
    if (job.model_id is not None) is not (job.status is JobStatus.COMPLETED):
        yield f"it is {job.status} with the model {job.model_id}"


def _num_resumed(events: Sequence[Event]) -> int:
    """How often a user resumed the job after it had ended."""
    messages = [event.data.get("message") or "" for event in events if event.kind is EventKind.STATUS]
    return sum(message.startswith("The job was resumed after it ") for message in messages)


def _of_steps(job: Job, events: Sequence[Event], points: Sequence[MetricRecord]) -> Iterator[str]:
    """One point for each step; each attempt goes forward, and of two that measured a step the newer one counts."""
    steps = [point.step for point in points]
    last = job.total_steps if job.status is JobStatus.COMPLETED else max(steps, default=0)
    if steps != list(range(1, (last or 0) + 1)):
        yield f"its steps are {steps} of {last}"
    if any(before.attempt > after.attempt for before, after in pairwise(points)):
        yield "an older attempt measured a later step"
    measured = [event for event in events if event.kind is EventKind.METRICS and "loss" in event.data["values"]]
    for before, after in pairwise(measured):
        if before.attempt == after.attempt and before.data["step"] >= after.data["step"]:
            yield f"attempt {after.attempt} measured step {after.data['step']} after {before.data['step']}"

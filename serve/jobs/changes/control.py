"""Cancel, pause, and changes of a job's place in the queue. Every function blocks on the store."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ftlab.errors import ConflictError
from ftlab.model_ref import ModelRef
from ftlab.schemas import BaseJobConfig, Job, JobConfig
from ftlab.status import JobStatus
from serve.context import Services
from serve.jobs.views.job_view import describe, require_training
from tracking.job_requests import cancel_job, notice, pause_job, refused
from tracking.store import StaleJobError, Transaction
from tracking.store.records import EventRecord, JobRecord, UnreadableConfig

MAX_RACES = 5
"""Tries of a change whose job changes at the same time."""

S = JobStatus


@dataclass(frozen=True)
class Changed:
    """The job as it is now, and the new events that are not published yet."""

    job: Job
    events: list[EventRecord]


def cancel(services: Services, owner: str, job: str) -> Changed:
    """Stop the job, in one transaction when nothing of it runs; raise `ConflictError` when it has ended."""
    return change_job(services, owner, job, cancel_job)


def pause(services: Services, owner: str, job: str) -> Changed:
    """Pause the job: at once while it is queued, else after it has saved a checkpoint.

    Pausing a job that is already pausing makes it the user's pause, whatever the reason was. Raise `ConflictError` when
    the job is paused, is being cancelled, or has ended.
    """
    return change_job(services, owner, job, pause_job)


def set_priority(services: Services, owner: str, job: str, priority: int) -> Changed:
    """Give a queued or paused job another priority; raise `ConflictError` in any other status."""

    def change(tx: Transaction, record: JobRecord, now: datetime) -> list[EventRecord]:
        if record.status not in (S.QUEUED, S.PAUSED):
            raise refused(record, "job_not_waiting", "only a queued or paused job can get another priority")
        if record.priority == priority:
            return []
        tx.jobs.set_priority(record.id, priority)
        message = f"The priority was changed from {record.priority} to {priority}."
        return notice(tx, record, now, "priority_changed", message)

    return change_job(services, owner, job, change)


def release(services: Services, owner: str, job: str) -> Changed:
    """Let a queued or paused job start without the jobs that it waits for.

    Raise `ConflictError` in any other status, and (code `job_awaits_model`) for a job that starts from the model of one
    of them.
    """

    def change(tx: Transaction, record: JobRecord, now: datetime) -> list[EventRecord]:
        if record.status not in (S.QUEUED, S.PAUSED):
            raise refused(record, "job_not_waiting", "only a queued or paused job waits for others")
        record = tx.jobs.lock(record.ref)
        parents = tx.chains.open_parents([record.id]).get(record.id, [])
        if not parents or not isinstance(record.config, BaseJobConfig):
            return []
        for parent in parents:
            if str(ModelRef("job", parent.id)) in record.config.named_models.values():
                why = f"it starts from the model of job {parent.id!r}; cancel it, or wait for that job"
                raise refused(record, "job_awaits_model", why)
        tx.chains.drop_open(record, now=now)
        names = ", ".join(f"{parent.name} ({parent.id})" for parent in parents)
        return notice(tx, record, now, "chain_dropped", f"The job was released: it no longer waits for {names}.")

    return change_job(services, owner, job, change)


def move_to_front(services: Services, owner: str, job: str) -> Changed:
    """Move a queued job ahead of all jobs with its priority; raise `ConflictError` in any other status."""

    def change(tx: Transaction, record: JobRecord, now: datetime) -> list[EventRecord]:
        if record.status is not S.QUEUED:
            raise refused(record, "job_not_queued", "only a queued job has a place in the queue")
        tx.jobs.move_to_front(record.id)
        message = f"The job was moved to the front of priority {record.priority}."
        return notice(tx, record, now, "moved_to_front", message)

    return change_job(services, owner, job, change)


def move_behind(services: Services, owner: str, job: str, other: str) -> Changed:
    """Move a queued job right behind another one with its priority.

    Raise `ConflictError` when one of them is not queued, or the priorities differ (code `other_priority`).
    """

    def change(tx: Transaction, record: JobRecord, now: datetime) -> list[EventRecord]:
        target = tx.jobs.resolve(other, owner=owner)
        for queued in (record, target):
            if queued.status is not S.QUEUED:
                raise refused(queued, "job_not_queued", "only a queued job has a place in the queue")
        if target.priority != record.priority:
            raise ConflictError(
                f"Job {record.id!r} has priority {record.priority} and job {target.id!r} has {target.priority}: the "
                "priority decides which of them is first. Change the priority of the job before you move it.",
                "other_priority",
                "job",
            )
        if target.id == record.id:
            return []
        tx.jobs.move_behind(record.id, target.id)
        return notice(tx, record, now, "moved_behind", f"The job was moved behind {target.name} ({target.id}).")

    return change_job(services, owner, job, change)


Change = Callable[[Transaction, JobRecord, datetime], list[EventRecord]]


def change_job(services: Services, owner: str, job: str, change: Change) -> Changed:
    """Change the job in one transaction; retry it when the job's attempt changed the job first."""
    for _ in range(MAX_RACES - 1):
        try:
            return _change_once(services, owner, job, change)
        except StaleJobError:
            continue
    return _change_once(services, owner, job, change)


def _change_once(services: Services, owner: str, job: str, change: Change) -> Changed:
    now = datetime.now(UTC)
    with services.store.begin() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        events = change(tx, record, now)
        return Changed(describe(services.settings, tx, tx.jobs.get(record.id)), events)


def training_config_of(record: JobRecord, what: str) -> JobConfig:
    """The config of a training job.

    Raise `ConflictError` for a job of another kind (code `not_a_training_job`, `what` only a training job does), and
    where the config is unreadable (code `config_invalid`).
    """
    require_training(record, what)
    if isinstance(record.config, JobConfig):
        return record.config
    why = f": {record.config.why}" if isinstance(record.config, UnreadableConfig) else ""
    raise refused(record, "config_invalid", f"this version cannot read its config{why}")

"""Engines as jobs of the queue: find the one that answers for a base model, or submit it. Every function blocks."""

from dataclasses import dataclass
from datetime import UTC, datetime

from ftlab.errors import RateLimitError, ServiceUnavailableError
from ftlab.schemas import EngineConfig
from ftlab.status import JobStatus
from serve.context import Services
from serve.engines.targets import Target
from serve.jobs.submission.submit import hold_base
from serve.jobs.views.queue import is_scheduling, waits_for
from tracking.quota_checks import check_submit
from tracking.store import Transaction
from tracking.store.engines import EngineRecord
from tracking.store.ids import new_id
from tracking.store.records import JobRecord

SHARED = "*"
"""Owner, in the table of engines, of those that all owners share; no user has this name."""
ABSENT = (JobStatus.CANCELLING, JobStatus.PAUSED)
"""Statuses of a job that has not ended, and yet will not answer: another engine takes its place."""


@dataclass(frozen=True)
class Address:
    """Where an engine listens."""

    job_id: str
    url: str
    token: str


@dataclass(frozen=True)
class EngineJob:
    """The engine of a target."""

    job: JobRecord
    address: Address | None = None
    """`None` until its process listens."""
    waits_for: str = ""
    """A sentence about what it waits for."""


def find_or_submit(services: Services, owner: str, target: Target, after: str | None = None) -> tuple[EngineJob, bool]:
    """The engine of a target, and whether it was submitted now. Of concurrent callers, one submits it.

    One that is shared may be the job of another owner, whose request started it.

    Raise `RateLimitError` (`quota_exceeded`) when the owner may have no more engines, or no more jobs in the queue, and
    `ServiceUnavailableError` (`engine_failed`) when the job `after`, which the caller has waited for, has failed.
    """
    with services.store.read() as tx:
        row = _row_of(tx, owner, target, target.key(services.settings))
        record = tx.engines.find(*row)
        if (engine := _alive(tx, record, owner)) is not None:
            return engine, False
        if record is not None and record.job_id == after:
            _raise_if_failed(tx, record.job_id, owner)
    with services.store.begin() as tx:
        if (engine := _alive(tx, tx.engines.lock(*row), owner)) is not None:
            return engine, False
        return EngineJob(_submit(tx, services, owner, target, row), waits_for="Waiting for its turn."), True


def _row_of(tx: Transaction, owner: str, target: Target, key: str) -> tuple[str, str]:
    """Owner and key of the row that names the engine."""
    if not target.is_shared:
        return owner, key
    engine = _alive(tx, tx.engines.find(SHARED, key), owner)
    # One that waits may wait for a limit of its owner, which must not keep others waiting.
    is_of_others = engine is not None and engine.job.owner != owner and engine.job.status is JobStatus.QUEUED
    return owner if is_of_others else SHARED, key


def others(services: Services, owner: str, engine: EngineJob) -> list[Address]:
    """Where the other engines listen that the owner's requests started."""
    with services.store.read() as tx:
        engines = [_alive(tx, record, owner) for record in tx.engines.of_owner(owner)]
    return [found.address for found in engines if found and found.address and found.job.id != engine.job.id]


def _alive(tx: Transaction, record: EngineRecord | None, owner: str) -> EngineJob | None:
    job = _job(tx, record)
    if record is None or job is None or job.status.is_terminal or job.status in ABSENT:
        return None
    if job.status is JobStatus.RUNNING and record.attempt == job.attempt and record.address and record.token:
        return EngineJob(job, Address(job.id, record.address, record.token))
    return EngineJob(job, waits_for=_waits_for(tx, job, owner))


def _job(tx: Transaction, record: EngineRecord | None) -> JobRecord | None:
    return tx.jobs.get(record.job_id) if record is not None and tx.jobs.exists(record.job_id) else None


def _raise_if_failed(tx: Transaction, job_id: str, owner: str) -> None:
    """What a job says is for its owner only: another one submits an engine, and hears of that."""
    job = tx.jobs.get(job_id) if tx.jobs.exists(job_id) else None
    if job is not None and job.owner == owner and job.status is JobStatus.FAILED:
        raise ServiceUnavailableError(f"The engine of this model failed: {job.message}", "engine_failed", "model")


def _waits_for(tx: Transaction, job: JobRecord, owner: str) -> str:
    if job.owner != owner:
        return "It was started for another user, and waits for its devices."
    if job.status is not JobStatus.QUEUED:
        return job.message
    now = datetime.now(UTC)
    position = tx.jobs.queue_positions([job.id])[job.id]
    return waits_for(job, position, now, is_scheduling=is_scheduling(tx, now))


def _submit(tx: Transaction, services: Services, owner: str, target: Target, row: tuple[str, str]) -> JobRecord:
    settings = services.settings
    alive = sum(_alive(tx, record, owner) is not None for record in tx.engines.of_owner(owner))
    if alive >= settings.chat_max_engines:
        raise RateLimitError(
            f"You have as many engines as you may have ({alive}; setting chat_max_engines). Cancel one of them with "
            "'ftlab cancel', or wait until one has been idle for long enough.",
            "quota_exceeded",
            "model",
        )
    check_submit(tx, settings, owner)
    if target.base_job_id is not None:
        hold_base(tx, target.base_job_id)
    config = EngineConfig(
        model=target.model,
        load_in_4bit=target.load_in_4bit,
        load_in_8bit=target.load_in_8bit,
        backend=target.backend(settings),
        idle_timeout_s=settings.chat_idle_s,
        max_retries=1,
        priority=settings.chat_priority,
    )
    job = tx.jobs.add(
        new_id("job"),
        owner=owner,
        name=f"engine of {target.model}"[:200],
        config=config,
        now=datetime.now(UTC),
        model_revision=target.revision,
        base_job_id=target.base_job_id,
    )
    tx.engines.set_job(*row, job.id)
    return job

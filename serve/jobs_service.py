"""Submitting jobs and looking them up. Every function blocks on the store: call it beside the event loop."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ftlab.errors import FineTuneLabError, InvalidRequestError, NotFoundError
from ftlab.life import JobStatus
from ftlab.model_ref import ModelRef, parse_model_ref
from ftlab.schemas import Job, JobConfig, Page
from serve import quotas_service
from serve.announce import first_event
from serve.body import canonical
from serve.convert import to_job
from serve.model_check import check_local, check_record, short_name
from serve.pages import to_page
from serve.queue_service import is_scheduling, queued_message, waits_for
from serve.services import Services
from tracking.store import Transaction
from tracking.store.ids import new_id
from tracking.store.records import EventRecord, JobRecord


@dataclass(frozen=True)
class Submission:
    """A body as it came in, checked; equal bodies under one idempotency key are one job."""

    config: JobConfig
    document: dict[str, Any]
    idempotency_key: str | None = None

    @property
    def body_sha256(self) -> str:
        return hashlib.sha256(canonical(self.document)).hexdigest()


@dataclass(frozen=True)
class Submitted:
    """The job, and for a new one the events that others have not been told of."""

    job: Job
    is_replay: bool = False
    events: list[EventRecord] = field(default_factory=list)


def submit(services: Services, owner: str, submission: Submission) -> Submitted:
    """Make the job durable, or find the one that the same idempotency key made before.

    Raise `NotFoundError` for a dataset or model that is not there, `RateLimitError` with code `quota_exceeded`, and
    `InvalidRequestError` with code `idempotency_key_reused` when the key belongs to another body.
    """
    try:
        ref = parse_model_ref(submission.config.model)
        check_local(ref, services.settings)
        return _add(services, owner, submission, ref)
    except FineTuneLabError:
        # A new job is by far the most common case, so the key is only looked up when something stands against one:
        # the key itself, or what a submit that came before did not meet.
        if known := _replay(services, owner, submission):
            return known
        raise


def get(services: Services, owner: str, job: str) -> Job:
    """The job with this id, unique name or unique id prefix."""
    with services.store.read() as tx:
        return describe(tx, tx.jobs.resolve(job, owner=owner))


def list_jobs(
    services: Services, owner: str, statuses: Collection[JobStatus] | None, after: str | None, limit: int
) -> Page[Job]:
    """One page, newest first. `after` is the id that the page before ended with."""
    with services.store.read() as tx:
        records = tx.jobs.list(owner=owner, statuses=statuses, after=after, limit=limit + 1)
        return to_page(_describe(tx, records), limit)


def describe(tx: Transaction, record: JobRecord) -> Job:
    """The job as a reply; while it is queued with its position and what it waits for."""
    return _describe(tx, [record])[0]


def _replay(services: Services, owner: str, submission: Submission) -> Submitted | None:
    key = submission.idempotency_key
    if key is None:
        return None
    with services.store.read() as tx:
        found = tx.jobs.find_idempotent(owner, key)
        if found is None:
            return None
        job_id, body_sha256 = found
        if body_sha256 == submission.body_sha256:
            return Submitted(describe(tx, tx.jobs.get(job_id, owner=owner)), is_replay=True)
    raise InvalidRequestError(
        "This Idempotency-Key was used with another body; use a new key for a new job.",
        "idempotency_key_reused",
        "idempotency-key",
    )


def _add(services: Services, owner: str, submission: Submission, ref: ModelRef) -> Submitted:
    config = submission.config
    with services.store.begin() as tx:
        dataset_name = _dataset_name(tx, owner, config.dataset, "dataset")
        if config.eval_dataset is not None:
            _dataset_name(tx, owner, config.eval_dataset, "eval_dataset")
        model_name = check_record(ref, tx, owner) or short_name(ref)
        quotas_service.check_submit(tx, services.settings, owner)
        record = tx.jobs.add(
            new_id("job"),
            owner=owner,
            name=config.name or f"{model_name} {dataset_name}"[:200],
            config=config.model_dump(mode="json"),
            dataset_id=config.dataset,
            eval_dataset_id=config.eval_dataset,
            idempotency_key=submission.idempotency_key,
            body_sha256=submission.body_sha256,
            now=datetime.now(UTC),
            priority=config.priority,
        )
        return Submitted(describe(tx, record), events=[first_event(record)])


def _dataset_name(tx: Transaction, owner: str, dataset_id: str, param: str) -> str:
    try:
        return tx.datasets.get(dataset_id, owner=owner).name
    except NotFoundError as error:
        raise NotFoundError("There is no dataset with this id.", error.code, param) from None


def _describe(tx: Transaction, records: list[JobRecord]) -> list[Job]:
    queued = [record.id for record in records if record.status is JobStatus.QUEUED]
    if not queued:
        return [to_job(record) for record in records]
    now = datetime.now(UTC)
    positions = tx.jobs.queue_positions(queued)
    is_at_work = is_scheduling(tx, now)
    jobs = []
    for record in records:
        position = positions.get(record.id)
        if position is None:
            jobs.append(to_job(record))
            continue
        waiting_for = waits_for(record, position, now, is_scheduling=is_at_work)
        message = queued_message(position, waiting_for)
        jobs.append(to_job(record, queue_position=position, waiting_for=waiting_for, message=message))
    return jobs

"""What can be asked about jobs. Every function blocks on the store: call it beside the event loop."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cluster.event_documents import to_documents
from ftlab.errors import ConflictError, InvalidRequestError, NotFoundError
from ftlab.life import JobStatus, ReasonCode
from ftlab.model_ref import ModelRef, parse_model_ref
from ftlab.schemas import Job, JobConfig, Page
from serve.body import canonical
from serve.convert import to_job
from serve.model_check import check_local, check_record, short_name
from serve.pages import to_page
from serve.queue_service import queued_message
from serve.services import Services
from tracking.store import DuplicateError, StaleJobError, Transaction
from tracking.store.ids import new_id
from tracking.store.records import EventRecord, JobRecord, JobRef

MAX_RACES = 5
"""How often a change is tried again when the job moved on meanwhile."""


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
    job: Job
    is_replay: bool


def submit(services: Services, owner: str, submission: Submission) -> Submitted:
    """Make the job durable, or find the one that the same idempotency key made before.

    Raise `NotFoundError` for a dataset or model that is not there, and `InvalidRequestError` with code
    `idempotency_key_reused` when the key belongs to another body.
    """
    with services.store.read() as tx:
        if known := _replay(tx, owner, submission):
            return known
    ref = parse_model_ref(submission.config.model)
    check_local(ref, services.settings)
    try:
        submitted, events = _add(services, owner, submission, ref)
    except DuplicateError:
        with services.store.read() as tx:
            known = _replay(tx, owner, submission)
        if known is None:
            raise
        return known
    _announce(services, events)
    return submitted


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
        positions = tx.jobs.queue_positions([record.id for record in records])
        jobs = [_describe(tx, record, positions.get(record.id)) for record in records]
    return to_page(jobs, limit)


def cancel(services: Services, owner: str, job: str) -> Job:
    """Stop the job, in one transaction when nothing of it runs; raise `ConflictError` when it has ended."""
    for _ in range(MAX_RACES - 1):
        try:
            return _cancel(services, owner, job)
        except StaleJobError:
            continue
    return _cancel(services, owner, job)


def describe(tx: Transaction, record: JobRecord) -> Job:
    """The job as a reply; while it is queued with its position and what it waits for."""
    is_queued = record.status is JobStatus.QUEUED
    return _describe(tx, record, tx.jobs.queue_position(record.id) if is_queued else None)


def _replay(tx: Transaction, owner: str, submission: Submission) -> Submitted | None:
    key = submission.idempotency_key
    found = tx.jobs.find_idempotent(owner, key) if key is not None else None
    if found is None:
        return None
    job_id, body_sha256 = found
    if body_sha256 != submission.body_sha256:
        raise InvalidRequestError(
            "This Idempotency-Key was used with another body; use a new key for a new job.",
            "idempotency_key_reused",
            "idempotency-key",
        )
    return Submitted(describe(tx, tx.jobs.get(job_id, owner=owner)), is_replay=True)


def _add(services: Services, owner: str, submission: Submission, ref: ModelRef) -> tuple[Submitted, list[EventRecord]]:
    config = submission.config
    with services.store.begin() as tx:
        # A submit with the same key may have come between the look-up and this transaction.
        if known := _replay(tx, owner, submission):
            return known, []
        dataset_name = _dataset_name(tx, owner, config.dataset, "dataset")
        if config.eval_dataset is not None:
            _dataset_name(tx, owner, config.eval_dataset, "eval_dataset")
        model_name = check_record(ref, tx, owner) or short_name(ref)
        record = tx.jobs.add(
            new_id("job"),
            owner=owner,
            name=config.name or f"{model_name} {dataset_name}"[:200],
            config=config.model_dump(mode="json"),
            dataset_id=config.dataset,
            eval_dataset_id=config.eval_dataset,
            idempotency_key=submission.idempotency_key,
            body_sha256=submission.body_sha256,
            now=_now(),
        )
        return Submitted(describe(tx, record), is_replay=False), tx.events.after(record.id, 0)


def _dataset_name(tx: Transaction, owner: str, dataset_id: str, param: str) -> str:
    try:
        return tx.datasets.get(dataset_id, owner=owner).name
    except NotFoundError as error:
        raise NotFoundError("There is no dataset with this id.", error.code, param) from None


def _cancel(services: Services, owner: str, job: str) -> Job:
    now = _now()
    with services.store.begin() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        if record.status.is_terminal:
            raise ConflictError(f"Job {record.id!r} has ended with status {record.status}.", "job_ended")
        ref = JobRef(record.id, record.attempt)
        events = []
        if record.status is not JobStatus.CANCELLING:
            events.append(tx.jobs.move(ref, JobStatus.CANCELLING, now=now))
        if record.status in (JobStatus.QUEUED, JobStatus.PAUSED):
            events.append(tx.jobs.move(ref, JobStatus.CANCELLED, now=now, reason=ReasonCode.USER_CANCELLED))
        cancelled = describe(tx, tx.jobs.get(record.id))
    _announce(services, events)
    return cancelled


def _describe(tx: Transaction, record: JobRecord, position: int | None) -> Job:
    if position is None:
        return to_job(record)
    return to_job(record, queue_position=position, message=queued_message(tx, record, position, _now()))


def _announce(services: Services, events: list[EventRecord]) -> None:
    """After the commit: tell whoever follows the job, and the coordinator. Both are only hints."""
    if events:
        services.hub.publish(to_documents(events))
    services.coordinator.wake()


def _now() -> datetime:
    return datetime.now(UTC)

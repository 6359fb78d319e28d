"""Submit jobs. Every function blocks on the store: call it beside the event loop."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cluster.runs.chained_model import why_waiting
from ftlab.errors import ConflictError, FineTuneLabError, InvalidRequestError, NotFoundError
from ftlab.schemas import AnyJobConfig, Job, JobConfig, NoticePayload
from ftlab.schemas.auto import AutoValue
from ftlab.schemas.base_config import Resources
from ftlab.schemas.events import AUTO_RESOLVED
from ftlab.status import ReasonCode
from serve.context import Services
from serve.http.json_body import digest
from serve.jobs.submission.job_datasets import with_ids
from serve.jobs.submission.parents import NO_PARENTS, Parents
from serve.jobs.submission.preflight import base_columns, preflight
from serve.jobs.views.job_view import describe, describe_all
from serve.models.base_model import UNCHECKED, HubAnswer, check, short_name
from tracking.quota_checks import check_submit
from tracking.store import Transaction
from tracking.store.ids import new_id
from tracking.store.records import JobRecord

DEFAULT_RESOURCES = Resources()


@dataclass(frozen=True)
class Submission:
    """A job's config with the body that it came in. Equal bodies under one idempotency key are one job."""

    config: AnyJobConfig
    body: bytes
    idempotency_key: str | None = None
    auto: Mapping[str, AutoValue] | None = None
    """Values of `config` that are `auto` in the body, with the reasons."""
    on_add: Callable[[Transaction, JobRecord], object] | None = None
    """Called with the new job, in the transaction that adds it."""
    parents: Parents = NO_PARENTS
    """The jobs that it waits for."""
    job_id: str | None = None
    """The id that it gets; a new one by default."""

    @property
    def body_sha256(self) -> str:
        return digest(self.body)


@dataclass(frozen=True)
class NewJob:
    """What the record of a new job says, once its config is checked."""

    config: AnyJobConfig
    """With the ids of what it gives by name."""
    name: str
    """Name where the config has none."""
    notices: Sequence[NoticePayload] = ()
    base_job_id: str | None = None
    """The job whose files it starts from."""
    source_job_ids: Collection[str] = ()
    """The jobs whose files it only reads."""
    model_revision: str | None = None


Completion = Callable[[Transaction], NewJob]
"""Completes a checked job in the transaction that adds it."""


@dataclass(frozen=True)
class ResolvedSubmission:
    """A submission whose models are looked up and whose `auto` is resolved."""

    submission: Submission
    check: Callable[[], Completion]
    """Checks it, and returns what completes it in the transaction that adds the job."""
    earlier: "Submitted | None" = None
    """A completed evaluation that measured the same, which may answer instead."""


@dataclass(frozen=True)
class Submitted:
    """The job, and whether it was made by an earlier submit with the same idempotency key."""

    job: Job
    is_replay: bool = False
    is_cached: bool = False
    """It is an earlier evaluation that measured the same."""


def check_training(services: Services, owner: str, submission: Submission, answer: HubAnswer) -> Completion:
    """Check a training job; return what completes it in the transaction that adds it.

    The config has a value for each `auto`; `answer` is what Hugging Face says about the base model. Raise what
    `serve.models.base_model.check` and `serve.jobs.submission.preflight.preflight` raise, `NotFoundError` for a
    dataset that does not exist, and `InvalidRequestError` with code `config_invalid` for a job that no machine can run.
    """
    config = submission.config
    assert isinstance(config, JobConfig)

    parents = submission.parents
    model = check(parents.existing(config.model), services.settings, answer)
    start = preflight(services, owner, config, model, parents.expected.get(config.model))
    check_size(services, config.resources)
    unchecked = [NoticePayload(code="model_unchecked", message=UNCHECKED)] if answer.is_away else []
    base = base_columns(services, start)
    named = start.tuned or (start.expected.parent if start.expected else None)

    def complete(tx: Transaction) -> NewJob:
        resolved, datasets = with_ids(tx, owner, start.config)
        name = f"{named.name if named else short_name(start.model.ref)} {datasets[0].name}"
        return NewJob(resolved, name, (*unchecked, *start.notices, *auto_notices(submission.auto)), **base)

    return complete


def add_once(services: Services, owner: str, submission: Submission, checked: Callable[[], Completion]) -> Submitted:
    """Make a job of any kind durable, or find the one that the same idempotency key made before.

    `checked` checks the config, and returns what completes it in the transaction that adds the job. Raise
    `RateLimitError` with code `quota_exceeded`, `InvalidRequestError` with code `idempotency_key_reused` when the key
    belongs to another body, and `ConflictError` with code `job_deleted` when the job of the same key was deleted.
    """
    try:
        return add_all(services, owner, [(submission, checked())])[0]
    except FineTuneLabError:
        # A new job is by far the most common case, so the key is looked up only after an error: the key itself is
        # taken, or something has changed since an earlier submit with this key was accepted.
        if known := replay(services, owner, submission):
            return known
        raise


def replay(services: Services, owner: str, submission: Submission) -> Submitted | None:
    """The job that an earlier submit with this idempotency key made; `None` for a new key, or none.

    Raise `InvalidRequestError` and `ConflictError` as `submit` does.
    """
    key = submission.idempotency_key
    if key is None:
        return None
    with services.store.read() as tx:
        found = tx.jobs.find_idempotent(owner, key)
        if found is None:
            return None
        job_id, body_sha256 = found
        if tx.deletions.was_deleted(job_id, owner=owner):
            raise key_of_deleted("job", job_id, "train again")
        if body_sha256 == submission.body_sha256:
            return Submitted(describe(services.settings, tx, tx.jobs.get(job_id, owner=owner)), is_replay=True)
    raise key_reused("job", job_id)


def key_reused(kind: str, record_id: str) -> InvalidRequestError:
    """The error for an idempotency key that belongs to another body."""
    return InvalidRequestError(
        f"The idempotency key was used before with another config, for {kind} {record_id!r}; use a new key for a new "
        f"{kind}.",
        "idempotency_key_reused",
        "idempotency-key",
    )


def key_of_deleted(kind: str, record_id: str, purpose: str) -> ConflictError:
    """The error for the idempotency key of a record that was deleted: a late repetition must not start it again."""
    return ConflictError(
        f"The idempotency key was used for {kind} {record_id!r}, which was deleted; use a new key to {purpose}.",
        f"{kind}_deleted",
        "idempotency-key",
    )


def completed(tx: Transaction, submission: Submission, complete: Completion) -> NewJob:
    """What the record of a checked job says, with the ids of the jobs that it waits for."""
    new = complete(tx)
    if submission.parents is NO_PARENTS:
        return new
    return replace(new, config=new.config.model_copy(update={"after": submission.parents.ids}))


def add_all(services: Services, owner: str, checked: Sequence[tuple[Submission, Completion]]) -> list[Submitted]:
    """Add checked jobs, all or none, each after those that it waits for."""
    with services.store.begin() as tx:
        records = [_add(tx, services, owner, submission, complete) for submission, complete in checked]
        # Jobs that wait for a new job are new themselves.
        has_chain = any(submission.parents.ids for submission, _ in checked)
        described = describe_all(services.settings, tx, records, has_chain=has_chain)
        return [Submitted(job) for job in described]


def _add(tx: Transaction, services: Services, owner: str, submission: Submission, complete: Completion) -> JobRecord:
    new = completed(tx, submission, complete)
    parents = submission.parents.ids
    for base in sorted({*new.source_job_ids, *filter(None, [new.base_job_id]), *parents}):
        hold_base(tx, base)
    check_submit(tx, services.settings, owner)
    record = tx.jobs.add(
        submission.job_id or new_id("job"),
        owner=owner,
        name=new.config.name or new.name[:200],
        config=new.config,
        idempotency_key=submission.idempotency_key,
        body_sha256=submission.body_sha256 if submission.idempotency_key else "",
        now=datetime.now(UTC),
        model_revision=new.model_revision,
        base_job_id=new.base_job_id,
        source_job_ids=new.source_job_ids,
        auto={name: value.model_dump(mode="json") for name, value in (submission.auto or {}).items()},
        notices=new.notices,
    )
    if len(new.config.datasets) > 1:
        tx.job_files.add(record.id, new.config.datasets, now=record.created_at)
    if submission.on_add is not None:
        submission.on_add(tx, record)
    if parents:
        tx.chains.add(record.id, parents)
        record = replace(record, waiting_for=_note_waiting(tx, record.id))
    return record


def _note_waiting(tx: Transaction, job_id: str) -> str | None:
    """Record what a new job waits for before the scheduler has seen it."""
    sentence = why_waiting(tx.chains.open_parents([job_id])[job_id])
    tx.jobs.set_waiting({job_id: sentence})
    return sentence


def auto_notices(auto: Mapping[str, AutoValue] | None) -> list[NoticePayload]:
    """What each `auto` of a job became: one notice for each setting."""
    return [
        NoticePayload(code=AUTO_RESOLVED, message=f"{name} is 'auto' and became {value.shown}: {value.reason}.")
        for name, value in (auto or {}).items()
    ]


def hold_base(tx: Transaction, job_id: str) -> None:
    """Keep the job that another one starts from or waits for until that one is in the database.

    Raise `NotFoundError` (`model_not_found`) when it was deleted in the meantime.
    """
    try:
        tx.jobs.hold(job_id)
    except NotFoundError:
        message = "A job that this one starts from or waits for was deleted, and its files with it."
        raise NotFoundError(message, "model_not_found", "model") from None


def check_size(services: Services, resources: Resources) -> None:
    """Raise `InvalidRequestError` (code `config_invalid`) for a job that the scheduler would refuse at once."""
    if resources == DEFAULT_RESOURCES:
        return  # fits every machine that trains: a usual submit does not ask
    why = services.coordinator.why_too_large(resources)
    if why is not None:
        raise InvalidRequestError(why, ReasonCode.CONFIG_INVALID, "resources")

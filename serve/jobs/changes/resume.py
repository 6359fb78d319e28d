"""Resume a job that is paused, failed or cancelled, also with other settings. Every function blocks on the store."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from cluster.coordinator.preparation import DataKey
from cluster.runs.failure_record import find_analysis
from cluster.runs.model_location import job_folder
from cluster.runs.run_limits import max_cost, spent_by, time_limit_s
from ftlab.errors import ConflictError, InvalidRequestError, NotFoundError
from ftlab.formatting import money
from ftlab.schemas import JobConfig, NoticePayload
from ftlab.schemas.adjustments import AdjustedBy, Adjustment, Change
from ftlab.schemas.auto import auto_settings
from ftlab.schemas.config_changes import adjusted, changes_between, undone
from ftlab.schemas.failures import FailureAnalysis
from ftlab.settings import Settings
from ftlab.status import REOPENED, JobKind, JobStatus
from serve.context import Services
from serve.http.json_body import validate
from serve.jobs.changes.control import Changed, change_job, training_config_of
from serve.jobs.checkpoints.choice import CheckpointChoice, check_whole
from serve.jobs.submission.job_datasets import with_ids
from serve.jobs.submission.parents import Parents, find_parents
from serve.jobs.submission.preflight import Start, base_columns, preflight
from serve.jobs.submission.submit import check_size, hold_base
from serve.models.base_model import NOT_ASKED, HubAnswer, check
from tracking.job_requests import refused
from tracking.quota_checks import check_submit
from tracking.store import StaleJobError, Transaction
from tracking.store.checkpoints import pinned_after
from tracking.store.records import CheckpointRecord, EventRecord, JobRecord, NewEvent
from train.checkpoints.setting_changes import changed_config, refused_changes
from train.model.preflight import unused_settings

RESUMABLE = (JobStatus.PAUSED, *sorted(REOPENED - {JobStatus.COMPLETED}))


@dataclass(frozen=True)
class ResumeOrder:
    """What a resume asks for."""

    choice: CheckpointChoice
    adjustments: Mapping[str, Any] | None = None
    suggested: bool = False
    original: bool = False

    @property
    def changes_config(self) -> bool:
        return bool(self.adjustments) or self.suggested or self.original


@dataclass(frozen=True)
class _Step:
    """One change of the config, on the way to the one that the job continues with."""

    by: AdjustedBy
    config: JobConfig
    reason: str | None = None


@dataclass(frozen=True)
class _NewConfig:
    """The config that a job continues with, after its check, and the changes that lead to it."""

    start: Start
    steps: list[_Step]
    changes: list[Change]


def model_to_ask_for(services: Services, owner: str, job: str, order: ResumeOrder) -> str:
    """The model that decides whether the job can continue with the config after the changes.

    That config is checked by its own rules only.
    Raise `InvalidRequestError` for a field that does not exist or a value that is not allowed, and `ConflictError`
    when the job cannot be resumed.
    """
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        _require_resumable(record)
        analysis = _analysis(tx, services, record) if order.suggested else None
    config = _steps(record, order, analysis)[-1].config
    return _parents(services, owner, record, config).existing(config.model)


def resume(services: Services, owner: str, job: str, order: ResumeOrder, answer: HubAnswer = NOT_ASKED) -> Changed:
    """Put a paused, failed or cancelled job back into the queue, with the settings that `order` changes.

    `answer` is what Hugging Face says about the base model; it is needed where the config changes. Raise what a
    submission raises for the changed config, `ConflictError` when the job has another status, when the chosen
    checkpoint is damaged (`checkpoint_corrupt`) or does not fit the changes (`needs_new_job`), and `NotFoundError` when
    the job has no such checkpoint.
    """
    with services.store.read() as tx:
        read = tx.jobs.resolve(job, owner=owner)
        _require_resumable(read)
        checkpoints = tx.checkpoints.of_job(read.id)
        analysis = _analysis(tx, services, read) if order.suggested else None
        choice = order.choice
        if analysis is not None and analysis.resume_from is not None and not choice.is_given:
            choice = CheckpointChoice(analysis.resume_from.name)
        name = choice.name_for(read, checkpoints)
        checkpoint = None if name is None else tx.checkpoints.get(read.id, name)
    if checkpoint is not None:
        check_whole(job_folder(services.settings, read.id) / "checkpoints", checkpoint)
    steps = _steps(read, order, analysis) if order.changes_config else []
    new = _check(services, owner, read, steps, answer, checkpoints) if steps else None

    def queue_again(tx: Transaction, record: JobRecord, now: datetime) -> list[EventRecord]:
        _require_resumable(record)
        record = tx.jobs.lock(record.ref)
        if record.config != read.config:
            raise StaleJobError(f"The config of job {record.id!r} was changed at the same time.")
        if name is not None:
            tx.checkpoints.get(record.id, name)  # it may have run, and removed it, since the files were looked at
            _require_no_newer_pin(tx, record, name)
        if record.status is not JobStatus.PAUSED:
            check_submit(tx, services.settings, owner)
        if new is not None and new.changes:
            events = _adjust(tx, services, owner, record, new, now)
        else:
            events = []
            _require_datasets(tx, record)
        for base in tx.jobs.bases_of(record.id):
            hold_base(tx, base)
        _require_limits_left(tx, services.settings, tx.jobs.get(record.id), now)
        return [*events, _queue(tx, record, choice, name, now)]

    return change_job(services, owner, read.id, queue_again)


def _require_no_newer_pin(tx: Transaction, record: JobRecord, name: str) -> None:
    """A resume from an earlier checkpoint removes the newer ones; raise `ConflictError` when one of them is pinned."""
    if pinned := pinned_after(tx.checkpoints.of_job(record.id), name):
        raise ConflictError(
            f"Checkpoint {pinned} is pinned, and a resume from {name} would remove it. Download it and unpin it first, "
            "or resume from it.",
            "checkpoint_pinned",
            "checkpoint",
        )


def _steps(record: JobRecord, order: ResumeOrder, analysis: FailureAnalysis | None) -> list[_Step]:
    """The changes in their order: back to the original, those that are suggested, those of the user."""
    training_config_of(record, "continues with other settings")
    document, steps = record.document, []
    if order.original:
        document = undone(document, record.adjustments)
        steps.append(_Step(AdjustedBy.USER, _parsed(document), "Back to the config as it was submitted."))
    if analysis is not None:
        [suggestion] = analysis.suggestions
        document = adjusted(document, {change.field: change.to for change in suggestion.changes})
        steps.append(_Step(AdjustedBy.SUGGESTION, _parsed(document), suggestion.reason))
    if order.adjustments:
        document = adjusted(document, order.adjustments)
        steps.append(_Step(AdjustedBy.USER, _parsed(document)))
    return steps


def _parsed(document: Mapping[str, Any]) -> JobConfig:
    config = validate(JobConfig, json.dumps(document))
    if names := auto_settings(config):
        raise InvalidRequestError(
            f"{names[0]} cannot become 'auto' when a job is resumed, because the service chooses values only at the "
            "submission; give it a value.",
            "invalid_config",
            names[0],
        )
    return config


def _analysis(tx: Transaction, services: Services, record: JobRecord) -> FailureAnalysis:
    """The analysis of the newest attempt, with its first suggestion that the job can take.

    Raise `ConflictError` (`no_suggestion`) where it suggests nothing.
    """
    found = find_analysis(tx, services.settings, record, datetime.now(UTC))
    if found is None or found.attempt != record.attempt:
        raise refused(record, "no_suggestion", "its newest attempt did not fail, so nothing is suggested")
    if not found.suggestions:
        why = f"the analysis of its failure ({found.cause}) suggests no change of the settings; see 'ftlab why'"
        raise refused(record, "no_suggestion", why)
    first = found.suggestions[0]  # where the job can take none, the error says why it cannot take this one
    if (config := record.training_config) is not None:
        has_checkpoint = bool(tx.checkpoints.of_job(record.id))
        possible = partial(changed_config, config, record.document, has_checkpoint=has_checkpoint)
        first = next((each for each in found.suggestions if possible(each.changes)), first)
    return found.model_copy(update={"suggestions": [first]})


def _check(
    services: Services,
    owner: str,
    record: JobRecord,
    steps: list[_Step],
    answer: HubAnswer,
    checkpoints: Sequence[CheckpointRecord],
) -> _NewConfig:
    """Check the changed config as a submission is checked, and that a checkpoint can take the changes."""
    config = steps[-1].config
    assert isinstance(record.config, JobConfig)
    parents = _parents(services, owner, record, config)
    expected = parents.expected.get(config.model)
    start = preflight(
        services, owner, config, check(parents.existing(config.model), services.settings, answer), expected
    )
    with services.store.read() as tx:
        config, _ = with_ids(tx, owner, start.config)
    changes = changes_between(record.config, config)
    if found := refused_changes(record.config, changes, has_checkpoint=bool(checkpoints)):
        change, reason = found[0]
        raise _needs_new_job(record, change, reason, checkpoints)
    if config.resources != record.config.resources:
        check_size(services, config.resources)
    return _NewConfig(start, [*steps[:-1], replace(steps[-1], config=config)], changes)


def _parents(services: Services, owner: str, record: JobRecord, config: JobConfig) -> Parents:
    """The jobs that the job still waits for, which no change of its settings adds to or replaces.

    Raise `ConflictError` (`job_awaits_model`) for another model of a job that waits for one, and `InvalidRequestError`
    for a model that would have to be waited for.
    """
    assert isinstance(record.config, JobConfig)
    with services.store.read() as tx:
        awaited = [parent.id for parent in tx.chains.open_parents([record.id]).get(record.id, ())]
    parents = find_parents(services, owner, config.model_copy(update={"after": awaited}))
    if awaited and config.model != record.config.model:
        why = "it waits for the model that another job delivers, which cannot be changed; submit a new job"
        raise refused(record, "job_awaits_model", why)
    if set(parents.ids) != set(awaited):
        raise InvalidRequestError(
            "model names a job that has not ended, and a job that is resumed cannot start to wait for one; name a "
            "checkpoint of it as 'job:ID/step-N', or submit a new job.",
            "invalid_config",
            "config_adjustments.model",
        )
    return parents


def _needs_new_job(
    record: JobRecord, change: Change, reason: str, checkpoints: Sequence[CheckpointRecord]
) -> ConflictError:
    base = f"model: job:{record.id}/step-{checkpoints[0].step}" if checkpoints else "its config"
    return ConflictError(
        f"{change.field} cannot change when job {record.id!r} is resumed: {reason}. Leave it out, or submit a new job "
        f"that starts from {base}.",
        "needs_new_job",
        f"config_adjustments.{change.field}",
    )


def _adjust(
    tx: Transaction, services: Services, owner: str, record: JobRecord, new: _NewConfig, now: datetime
) -> list[EventRecord]:
    with_ids(tx, owner, new.start.config)  # a dataset may have been deleted since the check
    before, config = record.config, new.steps[-1].config
    assert isinstance(before, JobConfig)
    columns: dict[str, Any] = {}
    if config.priority != before.priority:
        columns |= {"priority": config.priority, "queue_shift": 0}
    if config.model != before.model:
        columns |= base_columns(services, new.start)
    revision = columns.get("model_revision", record.model_revision)
    needs_data = DataKey.of(before, record.model_revision) != DataKey.of(config, revision)
    events = []
    for step, previous in zip(new.steps, [before, *(step.config for step in new.steps)], strict=False):
        if changes := changes_between(previous, step.config):
            made = Adjustment(at=now, by=step.by, attempt=record.attempt, changes=changes, reason=step.reason)
            events.append(tx.adjustments.apply(record, step.config, made, needs_data=needs_data, **columns))
            record = tx.jobs.lock(record.ref)
    unused = [sentence for sentence in unused_settings(config) if sentence not in unused_settings(before)]
    notices = [NewEvent(NoticePayload(code="setting_unused", message=sentence), now) for sentence in unused]
    return [*events, *(tx.events.append(record.ref, notices) if notices else [])]


def _queue(
    tx: Transaction, record: JobRecord, choice: CheckpointChoice, name: str | None, now: datetime
) -> EventRecord:
    if record.status is JobStatus.PAUSED:
        message = None if name is None else f"The job is waiting for its turn; it continues from {name}."
        # Without a choice, that of an earlier resume holds, where the job was paused again before it ran.
        resume_from = name if choice.is_given else record.resume_from
        return tx.jobs.move(record.ref, JobStatus.QUEUED, now=now, message=message, resume_from=resume_from)
    checkpoints = tx.checkpoints.of_job(record.id)
    newest = f"its newest checkpoint, of step {checkpoints[0].step}" if checkpoints else None
    where = f"continues from {name or newest}" if name or newest else "has no checkpoint and starts from its base model"
    if record.kind is not JobKind.TRAINING:
        where = "continues where it stopped"
    ended = "failed" if record.status is JobStatus.FAILED else "was cancelled"
    message = f"The job was resumed after it {ended}; it {where}."
    return tx.jobs.reopen(record.ref, message=message, now=now, source=record.status, resume_from=name)


def _require_datasets(tx: Transaction, record: JobRecord) -> None:
    """Refuse the resume of an ended job whose datasets were deleted since it ended."""
    evaluated = [record.eval_dataset_id] if record.eval_dataset_id else []
    try:
        for dataset in [*dict.fromkeys(record.dataset_ids), *evaluated]:
            tx.datasets.get(dataset)
    except NotFoundError:
        raise refused(record, "dataset_deleted", "a dataset that it needs is no longer there") from None


def _require_limits_left(tx: Transaction, settings: Settings, record: JobRecord, now: datetime) -> None:
    limit_s = time_limit_s(record)
    ran_s = tx.attempts.run_times([record.id], now=now).get(record.id, 0.0)
    if limit_s is not None and ran_s >= limit_s:
        raise InvalidRequestError(
            f"Job {record.id!r} has run for {ran_s:.0f} s, and time_limit_s is {limit_s}: it would end at once. Resume "
            "it with a higher time_limit_s.",
            "time_limit_used_up",
            "config_adjustments.time_limit_s",
        )
    most = max_cost(record)
    amount = Decimal(0) if most is None else spent_by(tx, settings, [record.id], now)[0]
    if most is not None and amount >= most:
        currency = settings.currency
        raise InvalidRequestError(
            f"Job {record.id!r} has cost {money(amount, currency)}, and max_cost is {money(most, currency)}: it would "
            "end at once. Resume it with a higher max_cost.",
            "max_cost_used_up",
            "config_adjustments.max_cost",
        )


def _require_resumable(record: JobRecord) -> None:
    if record.status not in RESUMABLE:
        raise refused(record, "job_not_paused", "only a job that is paused, failed or cancelled can be resumed")

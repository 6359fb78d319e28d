"""Append files to a job. Every function blocks on the store."""

from collections.abc import Sequence
from datetime import datetime

from ftlab.errors import ConflictError, InvalidRequestError, NotFoundError
from ftlab.schemas import JobConfig
from ftlab.schemas.config import MAX_DATASETS
from ftlab.status import JobStatus
from serve.context import Services
from serve.jobs.changes.control import Changed, change_job, training_config_of
from serve.jobs.submission.job_datasets import check_kinds, find_dataset
from serve.jobs.submission.submit import hold_base
from serve.jobs.views.job_view import require_training
from tracking.job_requests import notice, refused, require_unfinished
from tracking.quota_checks import check_submit
from tracking.store import Transaction
from tracking.store.records import DatasetRecord, EventRecord, JobRecord

S = JobStatus
_WHAT = "takes more files"


def append(services: Services, owner: str, job: str, datasets: Sequence[str], after: int | None = None) -> Changed:
    """Have the job train on these datasets too, after those that it has.

    A queued or paused job has them from its next start; a running one continues until they are prepared, saves, and
    continues with them; a completed one returns to the queue. Raise `NotFoundError` for a dataset that does not exist,
    `InvalidRequestError` for one of another kind and for too many, `RateLimitError` with code `quota_exceeded` when a
    completed job cannot be queued, and `ConflictError` when the job accepts no more files.
    """

    def change(tx: Transaction, record: JobRecord, now: datetime) -> list[EventRecord]:
        record = tx.jobs.lock(record.ref)
        ids = _check(tx, owner, record, datasets, after)
        if record.status is S.COMPLETED:
            check_submit(tx, services.settings, owner)
            for base in tx.jobs.bases_of(record.id):
                hold_base(tx, base)
        files = tx.job_files.append(record, ids, now=now)
        were = "one file was" if len(datasets) == 1 else f"{len(datasets)} files were"
        message = f"{were.capitalize()} appended; the job has {len(files)} now."
        events = notice(tx, record, now, "files_appended", message)
        if record.status is S.COMPLETED:
            step = tx.checkpoints.of_job(record.id)[0].step
            message = f"The job was reopened because {were} appended; it continues from its checkpoint of step {step}."
            events.append(tx.jobs.reopen(record.ref, message=message, now=now))
        return events

    return change_job(services, owner, job, change)


def _check(tx: Transaction, owner: str, record: JobRecord, datasets: Sequence[str], after: int | None) -> list[str]:
    """The ids of the datasets, each given by id or name. Raise the error for a job or datasets that rule it out."""
    require_training(record, _WHAT)
    if record.status is not S.COMPLETED:
        require_unfinished(record)
    if record.status is S.CANCELLING:
        raise refused(record, "job_cancelling", "it does not accept more files")
    if after is not None and after != record.num_files:
        raise ConflictError(
            f"Job {record.id!r} has {record.num_files} files, not {after}: append what is still missing.",
            "files_changed",
            "after",
        )
    if record.num_files + len(datasets) > MAX_DATASETS:
        raise InvalidRequestError(
            f"A job has at most {MAX_DATASETS} files, and {record.id!r} has {record.num_files} already.",
            "too_many_datasets",
            "datasets",
        )
    config = training_config_of(record, _WHAT)
    if config.dataset_weights is not None:
        raise ConflictError(
            f"Job {record.id!r} mixes its datasets by dataset_weights, which has no weight for an appended one. Submit "
            "a new job that starts from its model.",
            "datasets_mixed",
        )
    if config.training.max_steps is not None and record.attempt > 0:
        raise ConflictError(
            f"Job {record.id!r} has training.max_steps, so it would not train appended files. Submit a new job that "
            "starts from its model.",
            "max_steps_set",
        )
    if config.training.early_stopping_patience is not None and record.status is S.COMPLETED:
        raise ConflictError(
            f"Job {record.id!r} has training.early_stopping_patience, so once completed it does not train appended "
            "files. Submit a new job that starts from its model.",
            "early_stopping_set",
        )
    added = [find_dataset(tx, owner, dataset, "datasets") for dataset in datasets]
    check_kinds(config, [*_own_datasets(tx, record, config), *added], "datasets")
    return [dataset.id for dataset in added]


def _own_datasets(tx: Transaction, record: JobRecord, config: JobConfig) -> list[DatasetRecord]:
    """The datasets that the job has. Raise `ConflictError` where one of them, or its checkpoint, no longer exists."""
    try:
        own = [tx.datasets.get(dataset) for dataset in dict.fromkeys(config.datasets)]
    except NotFoundError:
        raise refused(record, "dataset_deleted", "a dataset that it was trained on is no longer there") from None
    if record.status is S.COMPLETED and not tx.checkpoints.of_job(record.id):
        raise refused(record, "checkpoint_not_found", "it has no checkpoint to continue from")
    return own

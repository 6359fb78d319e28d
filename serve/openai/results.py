"""Result files: the metrics of a job that has ended, as CSV. They are made on request. Every function blocks."""

import csv
import io

from ftlab.errors import ConflictError
from ftlab.status import JobKind, JobStatus
from serve.context import Services
from serve.openai.ids import file_id, fine_tune_id, job_of_result, no_such_file, result_file_id, seconds
from serve.openai.job_views import has_results
from serve.openai.objects import OpenAiFile, OpenAiList, page
from tracking.store import Transaction
from tracking.store.paging import invalid_cursor
from tracking.store.records import JobRecord

PURPOSE = "fine-tune-results"
FILENAME = "step_metrics.csv"
COLUMNS = {
    "train_loss": "loss",
    "train_accuracy": "mean_token_accuracy",
    "valid_loss": "eval_loss",
    "valid_mean_token_accuracy": "eval_mean_token_accuracy",
}
"""Columns after `step`, and our metrics in them. A cell is empty where nothing was measured."""
MAX_STEPS = 1_000_000
ENDED = frozenset(status for status in JobStatus if status.is_terminal)


def content(services: Services, owner: str, job: str) -> bytes:
    """The CSV. Raises `NotFoundError` for a job without results."""
    with services.store.read() as tx:
        return _csv(tx, _record(tx, owner, job))


def get_file(services: Services, owner: str, job: str) -> OpenAiFile:
    """Raise `NotFoundError` for a job without results."""
    with services.store.read() as tx:
        record = _record(tx, owner, job)
        return _to_file(tx, record)


def list_files(
    services: Services, owner: str, after: str | None, limit: int, *, oldest_first: bool
) -> OpenAiList[OpenAiFile]:
    """One page of the results of jobs, in the order of their submission."""
    cursor = None
    if after is not None and (cursor := job_of_result(after)) is None:
        raise invalid_cursor()
    with services.store.read() as tx:
        found: list[JobRecord] = []
        while len(found) <= limit:
            records = tx.jobs.list(
                owner=owner, kinds={JobKind.TRAINING}, after=cursor, limit=limit + 1, oldest_first=oldest_first
            )
            found += [record for record in records if has_results(record)]
            if len(records) <= limit:
                break
            cursor = records[-1].id
        return page([_to_file(tx, record) for record in found[:limit]], has_more=len(found) > limit)


def refuse_deletion(services: Services, owner: str, job: str) -> None:
    """Raise `ConflictError`: results are a part of the record of their job. `NotFoundError` without results."""
    with services.store.read() as tx:
        record = _record(tx, owner, job)
    raise ConflictError(
        f"The results of {fine_tune_id(record.id)} are made from its record, and go when the job is deleted.",
        "result_file_kept",
        "file_id",
    )


def _record(tx: Transaction, owner: str, job: str) -> JobRecord:
    missing = no_such_file(result_file_id(job))
    if not tx.jobs.owned([job], owner=owner):
        raise missing
    record = tx.jobs.get(job, owner=owner)
    if not has_results(record):
        raise missing
    return record


def _csv(tx: Transaction, record: JobRecord) -> bytes:
    rows: dict[int, dict[str, float]] = {}
    for point in tx.metrics.series(record.id, set(COLUMNS.values()), MAX_STEPS):
        rows.setdefault(point.step, {})[point.name] = point.value
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *COLUMNS])
    for step, values in sorted(rows.items()):
        writer.writerow([step, *(values.get(name, "") for name in COLUMNS.values())])
    return text.getvalue().encode()


def _to_file(tx: Transaction, record: JobRecord) -> OpenAiFile:
    assert record.finished_at is not None
    return OpenAiFile(
        id=result_file_id(record.id),
        bytes=len(_csv(tx, record)),
        created_at=seconds(record.finished_at),
        filename=FILENAME,
        purpose=PURPOSE,
        job=fine_tune_id(record.id),
        training_file=file_id(record.dataset_id),
    )

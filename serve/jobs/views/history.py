"""History of a job: metrics, events, logs, checkpoints, attempts. Every function blocks on the store."""

from collections.abc import Collection
from datetime import UTC, datetime

from cluster.runs.failure_record import find_analysis
from ftlab.errors import NotFoundError
from ftlab.schemas import Attempt, Checkpoint, Dataset, Event, EventKind, FailureAnalysis, MetricPoint
from ftlab.schemas.log_lines import LOGGED_KINDS, log_lines
from ftlab.schemas.replies import AttemptList, CheckpointList, EventList, JobOverview, LogList, MetricList
from serve.context import Services
from serve.jobs.views.job_view import describe
from tracking.store import Transaction
from tracking.store.records import DatasetRecord

OVERVIEW_POINTS = 100


def metrics(services: Services, owner: str, job: str, names: Collection[str], max_points: int) -> MetricList:
    """Points of the named series, at most `max_points` per series; without names, of all series."""
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        points = tx.metrics.series(record.id, names or None, max_points)
    return MetricList(data=[MetricPoint.of(point) for point in points])


def events(
    services: Services, owner: str, job: str, after: int, limit: int, kinds: Collection[EventKind] | None = None
) -> EventList:
    """The first `limit` events after `after`, of all kinds or of the given ones."""
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        found = tx.events.after(record.id, after, limit, kinds)
    return EventList(data=[Event.of(event) for event in found], last_seq=record.last_seq)


def logs(services: Services, owner: str, job: str, tail: int) -> LogList:
    """The newest `tail` lines, oldest first: what a training script would print, made from the events."""
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        found = tx.events.tail(record.id, LOGGED_KINDS, tail)
    lines = [line for event in found for line in log_lines(event.payload, at=event.at, attempt=event.attempt)]
    return LogList(data=lines[-tail:])


def checkpoints(services: Services, owner: str, job: str) -> CheckpointList:
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        found = tx.checkpoints.of_job(record.id)
    return CheckpointList(data=[Checkpoint.of(checkpoint) for checkpoint in found])


def attempts(services: Services, owner: str, job: str) -> AttemptList:
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        found = tx.attempts.of_job(record.id)
    return AttemptList(data=[Attempt.of(attempt) for attempt in found])


def failure(services: Services, owner: str, job: str) -> FailureAnalysis:
    """The analysis of the job's newest failure. Raises `NotFoundError` (`job_not_failed`) for one that never failed."""
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        found = find_analysis(tx, services.settings, record, datetime.now(UTC))
    if found is None:
        raise NotFoundError(f"Job {record.id} has not failed ({record.status.value}).", "job_not_failed")
    return found


def overview(services: Services, owner: str, job: str) -> JobOverview:
    """The job, its dataset, its newest metric points and what its attempts cost at once."""
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        points = tx.metrics.last(record.id, OVERVIEW_POINTS)
        dataset = _dataset(tx, owner, record.dataset_id)
        return JobOverview(
            job=describe(services.settings, tx, record),
            dataset=Dataset.of(dataset) if dataset else None,
            metrics=[MetricPoint.of(point) for point in points],
            cost_records=tx.costs.of_jobs([record.id]).get(record.id, []),
        )


def _dataset(tx: Transaction, owner: str, dataset_id: str) -> DatasetRecord | None:
    """A dataset may be deleted once the jobs that used it have ended."""
    try:
        return tx.datasets.get(dataset_id, owner=owner)
    except NotFoundError:
        return None

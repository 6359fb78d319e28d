"""Jobs as replies: looked up, with the position in the queue, what they wait for, what they cost, and their chain."""

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime

from ftlab.errors import ConflictError
from ftlab.schemas import ChainedJob, Job, Page
from ftlab.schemas.auto import AutoValue, setting
from ftlab.settings import Settings
from ftlab.status import JobKind, JobStatus
from serve.accounts.costs import costs_of
from serve.context import Services
from serve.http.responses import to_page
from serve.jobs.views.queue import eta_of, is_scheduling, phase_of, queued_message, waits_for
from tracking.store import Transaction
from tracking.store.records import JobRecord


def get_job(services: Services, owner: str, job: str) -> Job:
    """The job with this id, unique name or unique id prefix."""
    with services.store.read() as tx:
        return describe(services.settings, tx, tx.jobs.resolve(job, owner=owner))


def list_jobs(
    services: Services,
    owner: str,
    statuses: Collection[JobStatus] | None,
    after: str | None,
    limit: int,
    search: str | None = None,
    kinds: Collection[JobKind] | None = None,
    sweep: str | None = None,
) -> Page[Job]:
    """One page, newest first. `after` is the last id of the page before, `search` a part of the name.

    `sweep` limits it to the trials of a sweep; raise `NotFoundError` where there is none.
    """
    with services.store.read() as tx:
        records = tx.jobs.list(
            owner=owner,
            statuses=statuses,
            kinds=kinds,
            search=search,
            sweep_id=tx.sweeps.resolve(sweep, owner=owner).id if sweep is not None else None,
            after=after,
            limit=limit + 1,
        )
        return to_page(describe_all(services.settings, tx, records), limit)


def describe(settings: Settings, tx: Transaction, record: JobRecord) -> Job:
    """The job as a reply; while it is queued with its position and what it waits for."""
    return describe_all(settings, tx, [record])[0]


def describe_all(settings: Settings, tx: Transaction, records: list[JobRecord], *, has_chain: bool = True) -> list[Job]:
    """The jobs as replies: what `describe` gives for one. Without `has_chain`, none waits for another one."""
    queued = [record.id for record in records if record.status is JobStatus.QUEUED]
    now = datetime.now(UTC)
    positions = tx.jobs.queue_positions(queued) if queued else {}
    is_at_work = bool(queued) and is_scheduling(tx, now)
    started = [record.id for record in records if record.attempt]
    run_times = tx.attempts.run_times(started, now=now) if started else {}
    costs = costs_of(settings, tx, records, now)
    parents, children = _chains_of(tx, [record.id for record in records] if has_chain else [])
    return [
        _to_job(settings, record, positions.get(record.id), now, is_scheduling=is_at_work).model_copy(
            update={
                "run_time_s": run_times.get(record.id),
                "cost": costs.get(record.id),
                "parents": parents[record.id],
                "children": children[record.id],
            }
        )
        for record in records
    ]


Chained = dict[str, list[ChainedJob]]


def _chains_of(tx: Transaction, job_ids: list[str]) -> tuple[Chained, Chained]:
    """The jobs that each job waits or waited for, and those that wait or waited for it."""
    parents: Chained = defaultdict(list)
    children: Chained = defaultdict(list)
    for link in tx.chains.links_of(job_ids) if job_ids else ():
        by = {"attempt": link.parent_attempt, "model_id": link.model_id}
        parents[link.job_id].append(
            ChainedJob(job_id=link.parent_id, name=link.parent_name, status=link.parent_status, **by)
        )
        children[link.parent_id].append(
            ChainedJob(job_id=link.job_id, name=link.job_name, status=link.job_status, **by)
        )
    return parents, children


def _to_job(
    settings: Settings,
    record: JobRecord,
    position: int | None,
    now: datetime,
    *,
    is_scheduling: bool,
) -> Job:
    """The job as a reply. A queued one has a position, and a message that depends on the jobs before it."""
    message, waiting_for = record.message, None
    if position is not None:
        waiting_for = waits_for(record, position, now, is_scheduling=is_scheduling)
        message = queued_message(position, waiting_for)
    config = record.training_config
    return Job.of(
        record,
        config=record.submitted_config,
        num_files=1 if config is not None and config.dataset_weights is not None else record.num_files,
        resolved_config=record.resolved_document,
        auto=_chosen(record),
        message=message,
        waiting_for=waiting_for,
        queue_position=position,
        mlflow_url=settings.mlflow_run_page(record.mlflow_experiment_id, record.mlflow_run_id),
        eta_s=eta_of(record),
        phase=phase_of(record),
    )


def _chosen(record: JobRecord) -> dict[str, AutoValue]:
    """What each `auto` became; without settings that have another value by now."""
    config = record.training_config
    if not record.auto or config is None:
        return {}
    chosen = {name: AutoValue.model_validate(value) for name, value in record.auto.items()}
    return {name: value for name, value in chosen.items() if setting(config, name) == value.value}


def require_training(record: JobRecord, what: str) -> None:
    """Raise `ConflictError` (code `not_a_training_job`) for a job of another kind; `what` only a training job does."""
    if record.kind is not JobKind.TRAINING:
        message = f"Job {record.id!r} is of the kind '{record.kind}', and only a training job {what}."
        raise ConflictError(message, "not_a_training_job")

"""Sweeps as replies. Every function blocks on the store."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cluster.runs.run_limits import spent_by, trials_run_time_s
from cluster.search.importance import importance
from ftlab.errors import InvalidRequestError
from ftlab.schemas import Page
from ftlab.schemas.auto import AutoValue
from ftlab.schemas.sweeps import Objective, Sweep, SweepSummary, Trial, TrialState
from ftlab.status import JobStatus
from serve.context import Services
from serve.http.responses import to_page
from tracking.best_trials import best_trial
from tracking.store.sweeps import SweepRecord, TrialRecord


def list_sweeps(services: Services, owner: str, after: str | None, limit: int) -> Page[SweepSummary]:
    """One page, newest first."""
    with services.store.read() as tx:
        records = tx.sweeps.list(owner=owner, after=after, limit=limit + 1)
        trials = tx.sweeps.trials_of([record.id for record in records])
    return to_page([SweepSummary(**_summary(record, trials[record.id])) for record in records], limit)


def get(services: Services, owner: str, sweep: str) -> Sweep:
    """The sweep with this id, unique name or unique id prefix."""
    with services.store.read() as tx:
        record = tx.sweeps.resolve(sweep, owner=owner)
    return describe(services, record)


def describe(services: Services, record: SweepRecord) -> Sweep:
    """The sweep with its trials, their costs, and the importance of the parameters.

    The importance is computed outside of every transaction: the first time, it takes seconds to import Optuna.
    """
    settings, now = services.settings, datetime.now(UTC)
    with services.store.read() as tx:
        trials = tx.sweeps.trials(record.id)
        job_ids = [trial.job_id for trial in trials if trial.job_id is not None]
        cost = spent_by(tx, settings, job_ids, now)[0] if settings.prices else None
        run_time_s = trials_run_time_s(tx, trials, now)
        running = [trial.job_id for trial in trials if trial.state is TrialState.RUNNING and trial.job_id]
        statuses = tx.jobs.statuses_of(running)
    try:
        found = importance(record.parsed, record.whole, trials)
        shares, note = found.shares, found.note
    except InvalidRequestError as error:
        shares, note = None, f"This version cannot read the config of the sweep: {error.message}"
    return Sweep(
        **_summary(record, trials),
        config=record.config,
        auto={name: AutoValue.model_validate(value) for name, value in record.auto.items()},
        rungs=list(record.rungs),
        trials=[_to_trial(trial, statuses.get(trial.job_id or "")) for trial in trials],
        importance=shares,
        importance_note=note,
        mlflow_url=settings.mlflow_run_page(record.mlflow_experiment_id, record.mlflow_run_id),
        run_time_s=run_time_s,
        cost=cost,
        currency=settings.currency if settings.prices else None,
    )


def _summary(record: SweepRecord, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    objective = Objective.model_validate(record.config.get("objective", {}))
    best = best_trial(trials, is_minimised=objective.is_minimised)
    return {
        "id": record.id,
        "owner": record.owner,
        "name": record.name,
        "status": record.status,
        "message": record.message,
        "method": record.config["method"]["type"],
        "objective": objective,
        "max_trials": record.max_trials,
        "num_trials": len(trials),
        "num_open": sum(trial.is_open for trial in trials),
        "best": None if best is None else _to_trial(best),
        "created_at": record.created_at,
        "finished_at": record.finished_at,
    }


def _to_trial(trial: TrialRecord, job_status: JobStatus | None = None) -> Trial:
    return Trial.of(trial, rung_values=list(trial.rung_values), job_status=job_status)

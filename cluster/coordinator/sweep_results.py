"""What the jobs of a sweep's trials have come to, recorded with the trials."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import publish
from cluster.search.halving import passes
from cluster.search.values import objective_value
from ftlab.schemas.sweeps import SuccessiveHalving, SweepConfig, TrialState
from ftlab.status import JobStatus
from tracking.job_requests import pause_job
from tracking.store import Transaction
from tracking.store.records import EventRecord, JobRecord
from tracking.store.sweeps import SweepRecord, TrialFields, TrialRecord

PAUSABLE = frozenset(
    {JobStatus.QUEUED, JobStatus.PENDING, JobStatus.INITIALIZING, JobStatus.RUNNING, JobStatus.PAUSING}
)


@dataclass(frozen=True)
class SweepView:
    """A sweep with its trials and their jobs, as one transaction read them."""

    sweep: SweepRecord
    config: SweepConfig
    trials: list[TrialRecord]
    jobs: Mapping[str, JobRecord]

    def job_of(self, trial: TrialRecord) -> JobRecord | None:
        return self.jobs.get(trial.job_id or "")

    @property
    def num_running(self) -> int:
        return sum(trial.state is TrialState.RUNNING for trial in self.trials)


def record_results(tick: Tick, view: SweepView) -> SweepView:
    """Record the trials whose jobs have ended or reached a rung. Gives the sweep as it is then.

    Raise `StaleJobError` where a job or a trial has changed in the meantime: the next tick looks again.
    """
    for trial in view.trials:
        if not trial.is_open:
            continue
        job = view.job_of(trial)
        if job is None or job.status.is_terminal:
            view = _with(view, _record_end(tick, view, trial, job))
        elif _is_at_rung(view, trial, job):
            view = _with(view, _record_rung(tick, view, trial, job))
    return view


def _is_at_rung(view: SweepView, trial: TrialRecord, job: JobRecord) -> bool:
    rungs = view.sweep.rungs
    return trial.state is TrialState.RUNNING and trial.rung < len(rungs) and job.step >= rungs[trial.rung]


def _with(view: SweepView, changed: TrialRecord) -> SweepView:
    trials = [changed if trial.number == changed.number else trial for trial in view.trials]
    return replace(view, trials=trials)


def _record_end(tick: Tick, view: SweepView, trial: TrialRecord, job: JobRecord | None) -> TrialRecord:
    with tick.store.begin() as tx:
        fields = _end_of(tx, view, trial, job)
        fields["finished_at"] = tick.now
        if job is not None:
            fields["run_time_s"] = tx.attempts.run_times([job.id], now=tick.now).get(job.id, 0.0)
        return tx.sweeps.change_trial(trial, **fields)


def _end_of(tx: Transaction, view: SweepView, trial: TrialRecord, job: JobRecord | None) -> TrialFields:
    objective = view.config.objective
    if job is None:
        return {"state": TrialState.FAILED, "message": "Its job was deleted before its result was recorded."}
    if job.status is JobStatus.CANCELLED:
        # One that was pruned stays so: the end of its sweep cancels its job.
        state = trial.state if trial.state is TrialState.PRUNED else TrialState.CANCELLED
        return {"state": state, "message": job.message}
    if job.status is JobStatus.FAILED:
        return {"state": TrialState.FAILED, "reason": job.reason, "message": job.message}
    series = tx.metrics.values(job.id, objective.metric)
    value = objective_value(objective, series)
    if value is None:
        known = ", ".join(sorted(tx.metrics.names(job.id))) or "none"
        message = f"Its job completed without a value of {objective.metric!r} after step 0; its metrics: {known}."
        return {"state": TrialState.FAILED, "message": message}
    reached = [objective_value(objective, series, step) for step in view.sweep.rungs if step in series]
    rung_values = [each for each in reached if each is not None]
    return {
        "state": TrialState.COMPLETED,
        "value": value,
        "rung_values": rung_values,
        "rung": len(view.sweep.rungs),
        "message": None,
    }


def _record_rung(tick: Tick, view: SweepView, trial: TrialRecord, job: JobRecord) -> TrialRecord:
    """Record the value at a rung, and pause the job unless it is good enough to pass. It may have made more steps.

    A promoted trial continues from the checkpoint of its pause, which is exact: it is as if it had never stopped.
    """
    method, objective = view.config.method, view.config.objective
    assert isinstance(method, SuccessiveHalving)
    step = view.sweep.rungs[trial.rung]
    events: list[EventRecord] = []
    with tick.store.begin() as tx:
        series = tx.metrics.values(job.id, objective.metric)
        value = objective_value(objective, series, step)
        if step not in series or value is None:
            return trial  # its evaluation at this step is still running
        is_good = passes(view.trials, trial, value, method.reduction_factor, is_minimised=objective.is_minimised)
        fields: TrialFields = {"value": value, "rung_values": [*trial.rung_values, value]}
        if is_good:
            fields["rung"] = trial.rung + 1
        else:
            fields |= {"state": TrialState.PRUNED, "message": _pruned_message(step, objective.metric, value)}
            if job.status in PAUSABLE:
                events = pause_job(tx, job, tick.now)
        changed = tx.sweeps.change_trial(trial, **fields)
    publish(tick, events)
    return changed


def _pruned_message(step: int, metric: str, value: float) -> str:
    return f"Paused at the rung of step {step} with {metric} {value:.6g}: others are better."


def last_failures(trials: list[TrialRecord]) -> list[TrialRecord]:
    """The trials that failed in a row, up to the one that ended last."""
    ended = [trial for trial in trials if trial.finished_at is not None and trial.state is not TrialState.CANCELLED]
    ended.sort(key=lambda trial: (trial.finished_at or trial.created_at, trial.number))
    last_success = max((place for place, trial in enumerate(ended) if trial.state is not TrialState.FAILED), default=-1)
    return ended[last_success + 1 :]

"""What the jobs of a sweep's trials have come to, recorded with the trials."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import publish
from cluster.search.halving import passes
from ftlab.schemas.sweep_scales import obstacle_to_comparison
from ftlab.schemas.sweeps import Objective, SuccessiveHalving, SweepConfig, SweepStatus, TrialState
from ftlab.status import JobStatus
from tracking.job_requests import cancel_job, pause_job
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
        elif _was_resumed(view, trial, job):
            view = _with(view, _record_resumed(tick, view, trial))
        elif _is_at_rung(view, trial, job):
            view = _with(view, _record_rung(tick, view, trial, job))
    return view


def _is_at_rung(view: SweepView, trial: TrialRecord, job: JobRecord) -> bool:
    rungs = view.sweep.rungs
    return trial.state is TrialState.RUNNING and trial.rung < len(rungs) and job.step >= rungs[trial.rung]


def _was_resumed(view: SweepView, trial: TrialRecord, job: JobRecord) -> bool:
    """Whether a user resumed the job of a trial that is paused at a rung."""
    is_active = job.status in PAUSABLE and job.status is not JobStatus.PAUSING
    return trial.state is TrialState.PRUNED and is_active and not view.sweep.status.has_ended


def _record_resumed(tick: Tick, view: SweepView, trial: TrialRecord) -> TrialRecord:
    """Let it pass the rung, as if the sweep had promoted it. A paused sweep does not pause it again."""
    is_held = view.sweep.status is SweepStatus.PAUSED
    fields: TrialFields = {"state": TrialState.RUNNING, "rung": trial.rung + 1, "message": None, "is_held": is_held}
    with tick.store.begin() as tx:
        return tx.sweeps.change_trial(trial, **fields)


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
    if why := _why_not_comparable(objective, job):
        return {"state": TrialState.FAILED, "message": why}
    series = tx.metrics.values(job.id, objective.metric)
    value = objective_value(objective, series)
    if value is None:
        known = ", ".join(sorted(tx.metrics.names(job.id))) or "none"
        message = f"Its job completed without a value of {objective.metric!r} after step 0; its metrics: {known}."
        return {"state": TrialState.FAILED, "message": message}
    reached = takewhile(series.__contains__, view.sweep.rungs)  # the values are known by their places
    rung_values = [objective_value(objective, series, step) for step in reached]
    return {
        "state": TrialState.COMPLETED,
        "value": value,
        "rung_values": [each for each in rung_values if each is not None],
        "rung": len(view.sweep.rungs),
        "message": None,
    }


def _why_not_comparable(objective: Objective, job: JobRecord) -> str | None:
    """The sentence about a job whose changed settings put the objective on another scale; `None` for any other.

    Such a change is made by an automatic recovery, or by a user who resumes the job.
    """
    config = job.training_config
    for change in (change for adjustment in job.adjustments for change in adjustment.changes):
        if config is not None and obstacle_to_comparison(config, change.field, objective.metric):
            return (
                f"Its job continued with {change.text}, so its {objective.metric!r} cannot be compared with that of "
                "the other trials."
            )
    return None


def _record_rung(tick: Tick, view: SweepView, trial: TrialRecord, job: JobRecord) -> TrialRecord:
    """Record the value at a rung, and pause the job unless it is good enough to pass. It may have made more steps.

    A promoted trial continues from the checkpoint of its pause, which is exact: it is as if it had never stopped.
    """
    objective, step = view.config.objective, view.sweep.rungs[trial.rung]
    with tick.store.begin() as tx:
        series = tx.metrics.values(job.id, objective.metric)
        value = objective_value(objective, series, step)
        if why := _why_not_comparable(objective, job):
            changed, events = _fail_at_rung(tx, tick, trial, job, why)
        elif step in series and value is not None:
            changed, events = _judge(tx, tick, view, trial, job, value)
        elif any(point.step > step for point in tx.metrics.last(job.id, 1)):
            what = f"Its job has no finite value of {objective.metric!r} at step {step}, where trials are compared"
            changed, events = _fail_at_rung(tx, tick, trial, job, f"{what}, and was cancelled.")
        else:
            return trial  # its evaluation at this step is still running
    publish(tick, events)
    return changed


def _judge(
    tx: Transaction, tick: Tick, view: SweepView, trial: TrialRecord, job: JobRecord, value: float
) -> tuple[TrialRecord, list[EventRecord]]:
    method, objective = view.config.method, view.config.objective
    assert isinstance(method, SuccessiveHalving)
    fields: TrialFields = {"value": value, "rung_values": [*trial.rung_values, value]}
    if passes(view.trials, trial, value, method.reduction_factor, is_minimised=objective.is_minimised):
        fields["rung"] = trial.rung + 1
        return tx.sweeps.change_trial(trial, **fields), []
    where = f"the rung of step {view.sweep.rungs[trial.rung]} with {objective.metric} {value:.6g}"
    fields["state"] = TrialState.PRUNED
    fields["message"] = f"Paused at {where}; the best of every {method.reduction_factor} trials continues."
    events = pause_job(tx, job, tick.now) if job.status in PAUSABLE else []
    return tx.sweeps.change_trial(trial, **fields), events


def _fail_at_rung(
    tx: Transaction, tick: Tick, trial: TrialRecord, job: JobRecord, message: str
) -> tuple[TrialRecord, list[EventRecord]]:
    """End a trial that can never be compared: its job trains on, and has no value at the rung."""
    events = [] if job.status is JobStatus.CANCELLING else cancel_job(tx, job, tick.now)
    changed = tx.sweeps.change_trial(
        trial,
        state=TrialState.FAILED,
        message=message,
        finished_at=tick.now,
        run_time_s=tx.attempts.run_times([job.id], now=tick.now).get(job.id, 0.0),
    )
    return changed, events


def last_failures(trials: list[TrialRecord]) -> list[TrialRecord]:
    """The trials that failed in a row, up to the one that ended last. One with a value at a rung did not fail there."""
    ended = [trial for trial in trials if trial.finished_at or trial.rung_values]
    ended = [trial for trial in ended if trial.state is not TrialState.CANCELLED]
    ended.sort(key=lambda trial: (trial.finished_at or trial.created_at, trial.number))
    last_success = max((place for place, trial in enumerate(ended) if trial.state is not TrialState.FAILED), default=-1)
    return ended[last_success + 1 :]


def objective_value(objective: Objective, series: Mapping[int, float], until: int | None = None) -> float | None:
    """The value of an objective in a series of values by step; those of step 0 are from before the training."""
    values = [series[step] for step in sorted(series) if step > 0 and (until is None or step <= until)]
    if not values:
        return None
    if objective.value == "last":
        return values[-1]
    return min(values) if objective.is_minimised else max(values)

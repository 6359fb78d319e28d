"""Advances the sweeps: records what their trials have come to, and adds, promotes, holds and ends trials."""

import logging

from cluster.coordinator.sweep_results import PAUSABLE, SweepView, last_failures, record_results
from cluster.coordinator.sweep_suggestions import SearchError, Suggestions
from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import publish
from cluster.interfaces import new_job_of
from cluster.runs.run_limits import spent_by, trials_run_time_s
from cluster.search.halving import promotable
from ftlab.errors import ConflictError, InvalidRequestError, NotFoundError, RateLimitError, ServiceUnavailableError
from ftlab.formatting import money
from ftlab.schemas import JobConfig
from ftlab.schemas.job_file import parse_job_config
from ftlab.schemas.sweeps import SuccessiveHalving, SweepStatus, TrialState, Value
from ftlab.status import JobStatus, StopKind
from tracking.best_trials import best_trial
from tracking.job_requests import cancel_job, pause_job
from tracking.quota_checks import check_submit
from tracking.store import Transaction
from tracking.store.ids import new_id
from tracking.store.records import EventRecord, JobRecord
from tracking.store.sweeps import SweepRecord, TrialRecord

SEARCHING = "The sweep is searching."
ALL_PAUSED = "The sweep waits, because the jobs of all its running trials are paused; resume or cancel them."
NOT_RECORDED = "Its result is not recorded; its job is an ordinary job from now on."
RESUMED_MESSAGE = "The job is waiting for its turn; its trial was promoted to the next rung."

logger = logging.getLogger(__name__)


class Sweeps:
    """Advances every sweep by one step at a time. Remembers only suggestions that are being computed."""

    def __init__(self, suggestions: Suggestions | None = None) -> None:
        self._suggestions = suggestions or Suggestions()

    def advance(self, tick: Tick) -> bool:
        """Return whether there is a sweep at work. One query where there is none."""
        with tick.store.read() as tx:
            sweeps = tx.sweeps.at_work()
        self._suggestions.forget_except({sweep.id for sweep in sweeps})
        for sweep in sweeps:
            try:
                self._advance(tick, sweep)
            except (ConflictError, NotFoundError) as error:  # a job has changed meanwhile: the next tick looks again
                logger.info("%s", error)
            except (InvalidRequestError, SearchError) as error:
                # This version cannot read what another one accepted, or cannot search. The queue must go on.
                _end(tick, sweep, SweepStatus.FAILED, error.message)
            except ServiceUnavailableError:
                raise
            except Exception:  # an edge: no fault of one sweep keeps the jobs of others waiting
                logger.exception("Sweep %s could not be advanced", sweep.id)
        return bool(sweeps)

    def _advance(self, tick: Tick, sweep: SweepRecord) -> None:
        config = sweep.parsed
        with tick.store.read() as tx:
            trials = tx.sweeps.trials(sweep.id)
            # The jobs of other trials are over, and nothing follows for them.
            ids = [trial.job_id for trial in trials if trial.job_id is not None and (trial.is_open or trial.is_held)]
            view = SweepView(sweep, config, trials, tx.jobs.of_ids(ids))
        view = record_results(tick, view)
        if sweep.status.has_ended:
            _wind_up(tick, view)
        elif sweep.status is SweepStatus.PAUSED:
            _hold(tick, view)
        elif (end := _end_of(tick, view)) is not None:
            _end(tick, sweep, *end)
        else:
            _release(tick, view)
            _say_if_paused(tick, view)
            if view.num_running < config.max_parallel and not tick.is_draining:
                self._fill(tick, view)

    def _fill(self, tick: Tick, view: SweepView) -> None:
        """Give a free place to the best paused trial, or to a new one."""
        trial = _promotable(view)
        if trial is not None:
            _promote(tick, view, trial)
        elif len(view.trials) < view.sweep.max_trials:
            values = self._suggestions.take(view.sweep, view.config, view.trials)
            if values is not None:
                _add_trial(tick, view, values)


def _end_of(tick: Tick, view: SweepView) -> tuple[SweepStatus, str] | None:
    """Whether a running sweep ends now, and why."""
    failures = last_failures(view.trials)
    if len(failures) >= view.config.max_failures:
        why = failures[-1].message or ""
        return SweepStatus.FAILED, f"{len(failures)} trials failed in a row; the last one: {why}"
    if (used_up := _used_up(tick, view)) is not None:
        return SweepStatus.COMPLETED, f"{used_up}; {_best_in_words(view)}"
    if view.num_running or len(view.trials) < view.sweep.max_trials or _promotable(view) is not None:
        return None
    if all(trial.state is not TrialState.COMPLETED for trial in view.trials):
        return SweepStatus.FAILED, "All trials have ended, and none of them completed."
    return SweepStatus.COMPLETED, f"All {len(view.trials)} trials have ended; {_best_in_words(view)}"


def _used_up(tick: Tick, view: SweepView) -> str | None:
    """Which budget is used up."""
    most_s, most = view.config.max_time_s, view.config.max_cost
    job_ids = [trial.job_id for trial in view.trials if trial.job_id is not None]
    if not job_ids or (most_s is None and most is None):
        return None
    with tick.store.read() as tx:
        ran_s = trials_run_time_s(tx, view.trials, tick.now) if most_s is not None else 0.0
        amount, _ = spent_by(tx, tick.settings, job_ids, tick.now, tick.limits.meter)
    if most_s is not None and ran_s >= most_s:
        return f"max_time_s ({most_s}) is used up after {ran_s:.0f} s"
    if most is not None and amount >= most:
        currency = tick.settings.currency
        return f"max_cost ({money(most, currency)}) is used up: the trials cost {money(amount, currency)}"
    return None


def _best_in_words(view: SweepView) -> str:
    best = best_trial(view.trials, is_minimised=view.config.objective.is_minimised)
    if best is None:
        return "no trial had completed."
    return f"the best is trial {best.number} with {view.config.objective.metric} {best.value:.6g}."


def _promotable(view: SweepView) -> TrialRecord | None:
    method = view.config.method
    if not isinstance(method, SuccessiveHalving):
        return None
    is_last_call = len(view.trials) >= view.sweep.max_trials and not view.num_running
    is_minimised = view.config.objective.is_minimised
    return promotable(
        view.trials,
        len(view.sweep.rungs),
        method.reduction_factor,
        is_minimised=is_minimised,
        is_last_call=is_last_call,
    )


def _promote(tick: Tick, view: SweepView, trial: TrialRecord) -> None:
    assert trial.job_id is not None
    events: list[EventRecord] = []
    with tick.store.begin() as tx:
        tx.sweeps.lock(view.sweep)
        job = tx.jobs.get(trial.job_id)  # it may have been paused in this tick
        if job.status is JobStatus.PAUSING:
            return  # the checkpoint of its pause comes first
        if job.status is JobStatus.PAUSED:
            events.append(tx.jobs.move(job.ref, JobStatus.QUEUED, now=tick.now, message=RESUMED_MESSAGE))
        tx.sweeps.change_trial(trial, state=TrialState.RUNNING, rung=trial.rung + 1, message=None)
    publish(tick, events)


def _say_if_paused(tick: Tick, view: SweepView) -> None:
    """Say so where a sweep stands still because users paused its trials."""
    running = [view.job_of(trial) for trial in view.trials if trial.state is TrialState.RUNNING and not trial.is_held]
    has_place = len(running) < view.config.max_parallel and len(view.trials) < view.sweep.max_trials
    if running and not has_place and all(job is not None and job.status is JobStatus.PAUSED for job in running):
        _say(tick, view.sweep, ALL_PAUSED)
    elif view.sweep.message == ALL_PAUSED:
        _say(tick, view.sweep, SEARCHING)


def _hold(tick: Tick, view: SweepView) -> None:
    """Pause the jobs of a paused sweep. One that a user resumes or pauses in the meantime stays so."""
    for trial in view.trials:
        job = view.job_of(trial)
        if trial.state is not TrialState.RUNNING or trial.is_held or job is None:
            continue
        if job.status in PAUSABLE and job.stop_kind is not StopKind.PAUSE:
            with tick.store.begin() as tx:
                events = pause_job(tx, job, tick.now)
                tx.sweeps.change_trial(trial, is_held=True)
            publish(tick, events)


def _release(tick: Tick, view: SweepView) -> None:
    """Resume the jobs that were paused with their sweep; a job that its owner paused stays paused."""
    for trial in view.trials:
        job = view.job_of(trial)
        if not trial.is_held or job is None or job.status is JobStatus.PAUSING:
            continue
        events: list[EventRecord] = []
        with tick.store.begin() as tx:
            if job.status is JobStatus.PAUSED:
                events.append(tx.jobs.move(job.ref, JobStatus.QUEUED, now=tick.now))
            tx.sweeps.change_trial(trial, is_held=False)
        publish(tick, events)


def _end(tick: Tick, sweep: SweepRecord, status: SweepStatus, message: str) -> None:
    logger.info("Sweep %s: %s", sweep.id, message)
    with tick.store.begin() as tx:
        if sweep.status.has_ended:  # its config cannot be read
            for trial in filter(lambda each: each.is_open, tx.sweeps.trials(sweep.id)):
                tx.sweeps.change_trial(trial, state=TrialState.CANCELLED, message=NOT_RECORDED, finished_at=tick.now)
            tx.sweeps.settle(sweep.id)
        else:
            tx.sweeps.move(sweep, status, message, now=tick.now)


def _wind_up(tick: Tick, view: SweepView) -> None:
    """Cancel the jobs that still run or are paused at a rung; their checkpoints are kept."""
    is_settled = True
    for trial in view.trials:
        job = view.job_of(trial)
        if trial.is_open and job is not None:
            is_settled = False
            if not job.status.is_terminal and job.status is not JobStatus.CANCELLING:
                with tick.store.begin() as tx:
                    events = cancel_job(tx, job, tick.now)
                publish(tick, events)
    if is_settled:
        with tick.store.begin() as tx:
            tx.sweeps.settle(view.sweep.id)


def _add_trial(tick: Tick, view: SweepView, values: dict[str, Value]) -> None:
    """Add the trial and its job in one transaction, so that neither a crash nor a second coordinator doubles one."""
    sweep, number = view.sweep, len(view.trials)
    try:
        config = parse_job_config(view.config.trial_document(values), f"Trial {number}")
    except InvalidRequestError as error:
        with tick.store.begin() as tx:
            tx.sweeps.lock(sweep)
            tx.sweeps.add_trial(sweep, number, values, now=tick.now, job_id=None, failure=error.message)
        return
    try:
        with tick.store.begin() as tx:
            tx.sweeps.lock(sweep)
            check_submit(tx, tick.settings, sweep.owner)
            job = _add_job(tx, tick, view, config)
            tx.sweeps.add_trial(sweep, number, values, now=tick.now, job_id=job.id)
            if sweep.message != SEARCHING:
                tx.sweeps.set_message(sweep.id, SEARCHING)
    except RateLimitError as error:
        _say(tick, sweep, f"The next trial waits: {error.message}")
        return
    except NotFoundError as error:
        _end(tick, sweep, SweepStatus.FAILED, f"No more trials can be made: {error.message}")
        return
    tick.hub.publish([new_job_of(sweep.owner)])


def _add_job(tx: Transaction, tick: Tick, view: SweepView, config: JobConfig) -> JobRecord:
    """Add the job of the next trial.

    Raise `NotFoundError` where a dataset, or the job that it starts from, was deleted since the submission."""
    sweep = view.sweep
    for dataset in [*config.datasets, *filter(None, [config.eval_dataset])]:
        tx.datasets.get(dataset)
    if sweep.base_job_id is not None:
        tx.jobs.hold(sweep.base_job_id)
    chosen = {name: value for name, value in sweep.auto.items() if name not in view.config.parameters}
    job = tx.jobs.add(
        new_id("job"),
        owner=sweep.owner,
        name=f"{sweep.name[:190]} {len(view.trials)}",
        config=config,
        now=tick.now,
        model_revision=sweep.model_revision,
        base_job_id=sweep.base_job_id,
        auto=chosen,
        sweep_id=sweep.id,
    )
    if len(config.datasets) > 1:
        tx.job_files.add(job.id, config.datasets, now=job.created_at)
    return job


def _say(tick: Tick, sweep: SweepRecord, message: str) -> None:
    if sweep.message != message:
        with tick.store.begin() as tx:
            tx.sweeps.set_message(sweep.id, message)

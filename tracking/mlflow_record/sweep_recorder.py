"""Records sweeps in MLflow: one run for each, above the runs of its trials."""

import json
import logging
from collections.abc import Sequence

from ftlab.formatting import markdown_text
from ftlab.schemas.sweeps import Objective, SweepStatus
from tracking.best_trials import best_so_far, best_trial
from tracking.mlflow_record.api import MlflowApi, MlflowRefusedError, RunState
from tracking.mlflow_record.mapping import MAX_TAG_LENGTH, Point, identity_tags, params_from, to_ms
from tracking.mlflow_record.metric_names import metric_key
from tracking.mlflow_record.run_note import NOTE_TAG, number, table
from tracking.store import Store
from tracking.store.sweeps import SweepRecord, TrialRecord

logger = logging.getLogger(__name__)

SWEEP_TAG = "ftlab.sweep_id"
RUN_STATUS: dict[SweepStatus, str] = {
    SweepStatus.RUNNING: "RUNNING",
    SweepStatus.PAUSED: "SCHEDULED",
    SweepStatus.COMPLETED: "FINISHED",
    SweepStatus.CANCELLED: "KILLED",
    SweepStatus.FAILED: "FAILED",
}


class SweepRecorder:
    """Sends the state of a sweep to MLflow each time its status has changed."""

    def __init__(self, store: Store, api: MlflowApi, server_url: str) -> None:
        self._store = store
        self._api = api
        self._server_url = server_url

    def send(self, sweep_id: str) -> int:
        """Bring the run of a sweep up to date, and note its status as sent. Sends no events of the log, so gives 0.

        Raise `NotFoundError` for a sweep that was deleted, and what `MlflowApi` raises.
        """
        with self._store.read() as tx:
            sweep, trials = tx.sweeps.get(sweep_id), tx.sweeps.trials(sweep_id)
        run_id = sweep.mlflow_run_id or self._open_run(sweep)
        try:
            self._update(run_id, sweep, trials)
        except MlflowRefusedError as error:
            self._resolve(run_id, sweep, trials, error)
        with self._store.begin() as tx:
            tx.sweeps.set_mlflow_status(sweep_id, sweep.status)
        return 0

    def _open_run(self, sweep: SweepRecord) -> str:
        tags = identity_tags(SWEEP_TAG, sweep.id, kind="sweep", owner=sweep.owner)
        run = self._api.ensure_run(sweep.id, name=sweep.name, started_at=sweep.created_at, tags=tags, id_tag=SWEEP_TAG)
        if self._api.run_state(run.run_id) is RunState.ACTIVE:
            self._api.log_params(run.run_id, params_from(sweep.config))
        with self._store.begin() as tx:
            tx.sweeps.set_mlflow_run(sweep.id, run_id=run.run_id, experiment_id=run.experiment_id)
        return run.run_id

    def _update(self, run_id: str, sweep: SweepRecord, trials: Sequence[TrialRecord]) -> None:
        self._api.log_points(run_id, points_of(sweep, trials))
        self._api.set_tags(run_id, tags_of(sweep, trials, self._server_url))
        if sweep.finished_at is None:
            self._api.set_status(run_id, RUN_STATUS[sweep.status])
        else:
            self._api.end(run_id, RUN_STATUS[sweep.status], sweep.finished_at)

    def _resolve(
        self, run_id: str, sweep: SweepRecord, trials: Sequence[TrialRecord], error: MlflowRefusedError
    ) -> None:
        """Handle a refusal: make a lost run again, skip what MLflow never takes, and raise the error otherwise."""
        state = self._api.run_state(run_id)
        if state is RunState.MISSING:
            self._update(self._open_run(sweep), sweep, trials)
        elif state is RunState.ACTIVE and not error.is_permanent:
            raise error
        elif state is RunState.ACTIVE:
            logger.warning("MLflow refused a part of the record of %s: %s", sweep.id, error)
        # A user moved the run to the trash: do not restore or replace it.


def points_of(sweep: SweepRecord, trials: Sequence[TrialRecord]) -> list[Point]:
    """The best value after each completed trial, under the name of the metric, as the runs of the trials have it."""
    objective = _objective(sweep)
    best = best_so_far(trials, is_minimised=objective.is_minimised)
    return [
        Point(metric_key(objective.metric), trial.value, to_ms(trial.finished_at or trial.created_at), place)
        for place, trial in enumerate(best, start=1)
        if trial.value is not None
    ]


def tags_of(sweep: SweepRecord, trials: Sequence[TrialRecord], server_url: str) -> dict[str, str]:
    """Where the sweep stands, its best trial, and the description of its run."""
    objective = _objective(sweep)
    best = best_trial(trials, is_minimised=objective.is_minimised)
    found = None
    tags = {"ftlab.status": sweep.status, "ftlab.message": sweep.message}
    if best is not None:
        found = f"trial {best.number} with {objective.metric} {number(best.value)}"
        tags["ftlab.best.trial"] = str(best.number)
        tags["ftlab.best.parameters"] = json.dumps(best.parameters)
        if best.job_id is not None:
            tags["ftlab.best.job_id"] = best.job_id
    method = str(sweep.config["method"]["type"]).replace("_", " ")
    rows = [
        ("Status", f"{sweep.status}. {markdown_text(sweep.message)}"),
        ("Objective", f"{objective.direction} {markdown_text(objective.metric)}"),
        ("Trials", f"{len(trials)} of {sweep.max_trials}"),
        ("Best", found and markdown_text(found)),
        ("Sweep", f"[{sweep.id}]({server_url}/sweeps/{sweep.id})"),
    ]
    names = ", ".join(f"`{name}`" for name in sweep.config["parameters"])
    tags[NOTE_TAG] = f"Search for {names} by {method}. The runs below are its trials.\n\n{table(rows)}"
    return {key: value[:MAX_TAG_LENGTH] for key, value in tags.items()}


def _objective(sweep: SweepRecord) -> Objective:
    return Objective.model_validate(sweep.config.get("objective", {}))

"""A sweep is a run of MLflow, above the runs of its trials."""

import json
from datetime import timedelta
from typing import Any

import pytest
from mlflow import entities as mlflow_entities

from ftlab.schemas.sweeps import SweepStatus, TrialState
from ftlab.status import ReasonCode
from tests.unit.tracking.mlflow_record.conftest import SERVER_URL, START, Jobs, Reader
from tests.unit.tracking.samples import running_sweep
from tracking.mlflow_record.api import MlflowApi, MlflowRefusedError, MlflowUnreachableError
from tracking.mlflow_record.mapping import PARENT_TAG
from tracking.mlflow_record.recorder import Recorder
from tracking.store import JobBusyError
from tracking.store.sweeps import SweepRecord

CONFIG: dict[str, Any] = {
    "name": "rates",
    "job": {"model": "org/base", "dataset": "ds-1", "training": {"max_steps": 9}},
    "parameters": {"training.learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}, "lora.r": {"values": [4, 8]}},
    "method": {"type": "successive_halving", "reduction_factor": 3},
    "objective": {"metric": "eval_loss", "direction": "minimise", "value": "best"},
    "seed": 42,
    "max_cost": None,
}


def add_sweep(jobs: Jobs) -> str:
    record = running_sweep(CONFIG, whole=("lora.r",), now=START)
    with jobs.store.begin() as tx:
        tx.sweeps.add(record)
    return record.id


def add_trial(jobs: Jobs, sweep_id: str, number: int, job_id: str, value: float | None) -> None:
    """A trial that has completed, unless it has no value: then it failed."""
    with jobs.store.begin() as tx:
        values = {"training.learning_rate": 1e-4 * (number + 1), "lora.r": 4}
        trial = tx.sweeps.add_trial(tx.sweeps.get(sweep_id), number, values, now=jobs.clock(), job_id=job_id)
        state = TrialState.FAILED if value is None else TrialState.COMPLETED
        tx.sweeps.change_trial(trial, state=state, value=value, finished_at=START + timedelta(seconds=number))


def end(jobs: Jobs, sweep_id: str, status: SweepStatus = SweepStatus.COMPLETED) -> None:
    with jobs.store.begin() as tx:
        tx.sweeps.move(tx.sweeps.get(sweep_id), status, "All 3 trials have ended.", now=START + timedelta(minutes=5))
        tx.sweeps.settle(sweep_id)


def sweep(jobs: Jobs, sweep_id: str) -> SweepRecord:
    with jobs.store.read() as tx:
        return tx.sweeps.get(sweep_id)


def run_of(reader: Reader, sweep_id: str) -> mlflow_entities.Run:
    """Fails unless the sweep has exactly one run."""
    experiments = [entry.experiment_id for entry in reader.client.search_experiments()]
    [run] = reader.client.search_runs(experiments, f"tags.`ftlab.sweep_id` = '{sweep_id}'")
    return run


def test_a_sweep_is_the_parent_of_its_trials(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    sweep_id = add_sweep(jobs)
    job_id = jobs.add_job("rates 0", sweep_id=sweep_id)
    jobs.claim(job_id)
    recorder.step()
    parent = run_of(reader, sweep_id)
    assert (parent.info.run_name, parent.info.status, parent.data.metrics) == ("rates", "RUNNING", {})
    assert parent.data.params == {
        "name": "rates",
        "job.model": "org/base",
        "job.dataset": "ds-1",
        "job.training.max_steps": "9",
        "parameters.training.learning_rate.min": "1e-05",
        "parameters.training.learning_rate.max": "0.001",
        "parameters.training.learning_rate.log": "True",
        "parameters.lora.r.values": "[4, 8]",
        "method.type": "successive_halving",
        "method.reduction_factor": "3",
        "objective.metric": "eval_loss",
        "objective.direction": "minimise",
        "objective.value": "best",
        "seed": "42",
    }
    assert reader.of(job_id).run.data.tags[PARENT_TAG] == parent.info.run_id
    recorded = sweep(jobs, sweep_id)
    assert (recorded.mlflow_run_id, recorded.mlflow_experiment_id) == (parent.info.run_id, parent.info.experiment_id)

    for number, value in enumerate((2.0, None, 1.5)):
        add_trial(jobs, sweep_id, number, job_id, value)
    with jobs.store.begin() as tx:
        assert tx.sweeps.behind_mlflow(50) == []  # between two statuses, there is nothing to send
    end(jobs, sweep_id)
    recorder.step()
    ended = run_of(reader, sweep_id)
    assert (ended.info.status, ended.info.end_time - ended.info.start_time) == ("FINISHED", 300_000)
    history = reader.client.get_metric_history(ended.info.run_id, "eval/loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.5)]
    tags = ended.data.tags
    assert (tags["ftlab.status"], tags["ftlab.best.trial"], tags["ftlab.best.job_id"]) == ("completed", "2", job_id)
    assert json.loads(tags["ftlab.best.parameters"])["lora.r"] == 4
    assert (
        f"| Best | trial 2 with eval\\_loss 1.5 |\n| Sweep | [{sweep_id}]({SERVER_URL}/sweeps/"
        in tags["mlflow.note.content"]
    )


def test_a_sweep_that_is_still_ending_is_not_final(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    """A trial that still ends may be the best one."""
    sweep_id = add_sweep(jobs)
    recorder.step()
    with jobs.store.begin() as tx:
        tx.sweeps.move(tx.sweeps.get(sweep_id), SweepStatus.CANCELLED, "It was cancelled.", now=START)
    recorder.step()
    assert run_of(reader, sweep_id).info.status == "RUNNING"
    with jobs.store.begin() as tx:
        tx.sweeps.settle(sweep_id)
    with pytest.raises(JobBusyError, match="MLflow does not have the whole record"), jobs.store.begin() as tx:
        tx.sweeps.delete(tx.sweeps.get(sweep_id), now=START)
    recorder.step()
    assert run_of(reader, sweep_id).info.status == "KILLED"
    with jobs.store.begin() as tx:
        tx.sweeps.delete(tx.sweeps.get(sweep_id), now=START)
    assert recorder.step() == 0
    assert run_of(reader, sweep_id).info.status == "KILLED"  # its record stays


def test_a_sweep_that_ended_while_mlflow_was_away(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    """Its trial is below it afterwards, although both were there before MLflow was."""
    away = Recorder(jobs.store, MlflowApi("http://127.0.0.1:9"), jobs.jobs_folder, jobs.clock, SERVER_URL)
    sweep_id = add_sweep(jobs)
    ref = jobs.start_attempt(jobs.add_job("rates 0", sweep_id=sweep_id))
    with pytest.raises(MlflowUnreachableError):
        away.step()
    jobs.fail(ref, ReasonCode.DEVICE_OOM, "It broke.")
    add_trial(jobs, sweep_id, 0, ref.id, None)
    end(jobs, sweep_id, SweepStatus.FAILED)
    with pytest.raises(MlflowUnreachableError):
        away.step()  # the job, as the sweep is postponed
    recorder.step()
    parent = run_of(reader, sweep_id)
    assert (parent.info.status, parent.data.metrics) == ("FAILED", {})
    assert reader.of(ref.id).run.data.tags[PARENT_TAG] == parent.info.run_id


def test_a_lost_run_is_made_again_and_a_deleted_one_is_not(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    lost, deleted = add_sweep(jobs), add_sweep(jobs)
    recorder.step()
    reader.client.set_tag(run_of(reader, lost).info.run_id, "ftlab.sweep_id", "another server's")
    trashed = run_of(reader, deleted).info.run_id
    reader.client.delete_run(trashed)
    with jobs.store.begin() as tx:
        tx.sweeps.set_mlflow_run(lost, run_id="f" * 32, experiment_id="1")
    for sweep_id in (lost, deleted):
        end(jobs, sweep_id)
    recorder.step()
    again = run_of(reader, lost)
    assert (again.info.status, again.data.params["seed"]) == ("FINISHED", "42")
    assert sweep(jobs, lost).mlflow_run_id == again.info.run_id
    assert reader.client.get_run(trashed).info.lifecycle_stage == "deleted"
    with jobs.store.read() as tx:
        assert tx.sweeps.behind_mlflow(50) == []


def test_a_refused_sweep_does_not_hold_up_its_trials(
    jobs: Jobs, recorder: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are put below it with their next status."""
    sweep_id = add_sweep(jobs)
    job_id = jobs.add_job("rates 0", sweep_id=sweep_id)
    ref = jobs.claim(job_id)
    log_params = MlflowApi.log_params

    def refuse(self: MlflowApi, run_id: str, params: dict[str, str]) -> None:
        if "method.type" in params:
            raise MlflowRefusedError("disk full", "INTERNAL_ERROR")
        log_params(self, run_id, params)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowApi, "log_params", refuse)
        recorder.step()
    assert PARENT_TAG not in reader.of(job_id).run.data.tags
    jobs.run(ref)
    jobs.clock.advance(60)
    recorder.step()
    assert reader.of(job_id).run.data.tags[PARENT_TAG] == run_of(reader, sweep_id).info.run_id

"""The lines of a job that is being followed."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ftlab.cli.run_view import RunView
from ftlab.schemas import Event, EventKind, Job
from ftlab.status import JobStatus, Phase

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def metrics(step: int, **data: Any) -> Event:
    values = {"step": step, "total_steps": 20, "eta_s": 5.0, "values": {"loss": 0.5}} | data
    return Event(job_id="job-1", seq=step, attempt=1, at=NOW, kind=EventKind.METRICS, data=values)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({}, ""),
        ({"file": 1, "num_files": 1, "file_progress": 0.3}, ""),
        ({"file": 2, "num_files": 5, "file_progress": 0.4}, "file 2 of 5 (40 %)  "),
    ],
)
def test_a_job_with_several_files_tells_which_one_it_trains(data: dict[str, Any], place: str):
    view = RunView(JobStatus.RUNNING)
    assert view.apply(metrics(7, **data)) == f"step 7/20  {place}loss 0.5  ETA 0:05"
    assert view.live_line().endswith(f" 7/20  {place}loss 0.5  ETA 0:05")


def test_the_loss_of_the_delivered_model_is_shown_with_its_step():
    view = RunView(JobStatus.RUNNING)
    assert view.apply(metrics(12, values={"final_eval_loss": 1.25})) == "step 12/20  final_eval_loss 1.25"


def test_it_goes_on_from_what_the_job_tells():
    job = Job(
        id="job-1",
        owner="local",
        name="mine",
        status=JobStatus.RUNNING,
        message="It trains.",
        config={"dataset": ["ds-1", "ds-2"]},
        created_at=NOW,
        step=9,
        total_steps=20,
        file=2,
        num_files=2,
        file_progress=0.125,
    )
    assert "9/20  file 2 of 2 (12 %)" in RunView.of(job).live_line()
    assert (job.datasets, job.progress) == (["ds-1", "ds-2"], 0.45)


def progress(step: int, phase: str) -> Event:
    data = {"step": step, "total_steps": 20, "eta_s": 0.0, "phase": phase}
    return Event(job_id="job-1", seq=1, attempt=1, at=NOW, kind=EventKind.PROGRESS, data=data)


def test_it_says_what_the_run_does_when_it_does_not_train():
    view = RunView(JobStatus.RUNNING)
    assert view.apply(progress(0, "evaluating")) == "● The run is evaluating."
    assert view.live_line().startswith("● running, evaluating  ")
    assert view.apply(progress(0, "training")) is None
    assert view.live_line().startswith("● running  ")


def test_phases_between_two_steps_are_live_but_not_logged():
    view = RunView(JobStatus.RUNNING)
    assert view.apply(progress(7, "saving")) is None
    assert view.live_line().startswith("● running, saving  ")
    assert view.apply(progress(20, "delivering")) == "● The run is delivering the model."


def test_a_phase_ends_with_the_status():
    view = RunView(JobStatus.RUNNING, phase=Phase.SAVING)
    data = {"status": "initializing", "message": "The workers are up."}
    view.apply(Event(job_id="job-1", seq=2, attempt=2, at=NOW, kind=EventKind.STATUS, data=data))
    assert view.live_line() == "● initializing, loading the model"

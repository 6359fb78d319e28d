"""Several files in one job on a real service: appended while it runs, and again after it has completed."""

from pathlib import Path

import pytest

from ftlab import Client
from ftlab.schemas import Dataset, EventKind
from ftlab.status import JobStatus
from tests.support.clocks import wait_for
from tests.support.lab import at_step, follow_until, rows, tiny_job

PATIENT_S = 300.0
EPOCHS = 2
STEPS_A_FILE = 10 * EPOCHS
"""40 rows, 4 a step."""


@pytest.fixture
def files(client: Client, tmp_path: Path) -> list[Dataset]:
    uploaded = []
    for number in range(5):
        file = tmp_path / f"part-{number}.jsonl"
        file.write_text(rows(41 + number).split("\n", number + 1)[-1])
        uploaded.append(client.datasets.upload(file))
    assert [dataset.num_rows for dataset in uploaded] == [40] * 5
    return uploaded


@pytest.mark.timeout(900)
def test_files_are_appended_to_a_running_and_to_a_completed_job(client: Client, files: list[Dataset]) -> None:
    training = {"max_steps": None, "num_train_epochs": EPOCHS, "save_steps": 50, "save_total_limit": 2}
    ids = [dataset.id for dataset in files]
    job = client.jobs.create(tiny_job(files[0], name="batches", training=training) | {"dataset": ids[:3]})
    follow_until(client, job, at_step(8))

    running = client.jobs.append(job.id, ids[3])
    assert (running.status, running.datasets, running.num_files) == (JobStatus.RUNNING, ids[:4], 4)
    done = client.jobs.wait(job.id, timeout_s=PATIENT_S)

    assert (done.step, done.total_steps) == (4 * STEPS_A_FILE, 4 * STEPS_A_FILE)
    assert (done.file, done.num_files, done.file_progress, done.retries_used) == (4, 4, 1.0, 0)
    assert [attempt.reason for attempt in client.jobs.attempts(job.id)] == ["ok", "ok"]
    first_model = done.model_id

    reopened = client.jobs.append(job.id, [ids[4]])
    assert reopened.status is JobStatus.QUEUED
    statuses = [event.data for event in client.jobs.events(job.id, kinds=EventKind.STATUS)]
    assert any("reopened" in data["message"] for data in statuses)
    done = client.jobs.wait(job.id, timeout_s=PATIENT_S)

    assert (done.status, done.step, done.file, done.num_files) == (JobStatus.COMPLETED, 5 * STEPS_A_FILE, 5, 5)
    steps = [point.step for point in client.jobs.metrics(job.id, ["loss"], max_points=5000)]
    assert steps == list(range(1, 5 * STEPS_A_FILE + 1))
    told = [event.data for event in client.jobs.events(job.id, kinds=EventKind.METRICS)]
    assert all(data["file"] == 1 + (data["step"] - 1) // STEPS_A_FILE for data in told)
    notices = [event.data for event in client.jobs.events(job.id, kinds=EventKind.NOTICE)]
    receipts = [data for data in notices if data["code"] == "resumed"]
    assert [data["num_files"] for data in receipts] == [4, 5]
    assert receipts[1]["file"] == 5
    assert [data["why_not"][0] for data in receipts] == ["one more file is trained"] * 2
    assert receipts[1]["step"] == 4 * STEPS_A_FILE
    assert client.jobs.attempts(job.id)[-1].resumed_from_step == 4 * STEPS_A_FILE
    assert [item.step for item in client.jobs.checkpoints(job.id)] == [5 * STEPS_A_FILE, 4 * STEPS_A_FILE]

    models = [model for model in client.models.list() if model.job_id == job.id]
    assert [model.step for model in models] == [5 * STEPS_A_FILE, 4 * STEPS_A_FILE]
    assert [model.id for model in models] == [done.model_id, first_model]
    wait_for(lambda: _versions(client, job.id) == ["2", "1"], PATIENT_S, "MLflow to have both versions")


def _versions(client: Client, job_id: str) -> list[str | None]:
    return [model.mlflow_version for model in client.models.list() if model.job_id == job_id]

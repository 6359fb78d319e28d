"""The unmodified `openai` client drives a job through its whole life on a service with a tiny model."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openai as sdk
import pytest
from openai import OpenAI

from tests.support.clocks import wait_for
from tests.support.documents import ROOT
from tests.support.lab import Lab, rows

ALIAS = "gpt-4o-mini-2024-07-18"
PATIENT_S = 180.0
MANY_STEPS = 3000


def wait(client: OpenAI, job: str, *, status: str, step: int = 0) -> Any:
    deadline = time.monotonic() + PATIENT_S
    while True:
        found: Any = client.fine_tuning.jobs.retrieve(job)
        if found.status == status and found.step >= step:
            return found
        assert found.status not in ("failed", "cancelled"), found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_the_script_of_an_openai_user_trains_a_model(lab: Lab, tmp_path: Path) -> None:
    files = [tmp_path / "train.jsonl", tmp_path / "heldout.jsonl"]
    for file, count in zip(files, (40, 12), strict=True):
        file.write_text(rows(count))
    environment = os.environ | {"OPENAI_BASE_URL": f"{lab.settings.server_url}/v1", "OPENAI_API_KEY": "none"}
    script = [sys.executable, "docs/examples/leave_openai.py", ALIAS, *map(str, files)]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.splitlines()
    assert printed[0].startswith("job ftjob-")
    assert printed[1] == f"info: Created fine-tuning job: {printed[0].removeprefix('job ')}"
    assert any(line.startswith("info: Step ") and "training loss=" in line for line in printed)
    assert any(line.startswith("hyperparameters {") and "'n_epochs': 2" in line for line in printed)
    header = printed.index("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy")
    assert float(printed[header + 1].split(",")[-2] or printed[-2].split(",")[1]) > 0
    name = printed[-1].removeprefix("model ")
    assert name.startswith(f"ft:{ALIAS}:local:support:")

    with OpenAI(base_url=f"{lab.settings.server_url}/v1", api_key="k", _strict_response_validation=True) as client:
        assert name in [model.id for model in client.models.list()]
        [job] = client.fine_tuning.jobs.list(metadata={"team": "support"})
        assert (job.fine_tuned_model, job.model) == (name, ALIAS)
        assert (job.trained_tokens or 0) > 0
        further = client.fine_tuning.jobs.create(
            model=name, training_file=job.training_file, hyperparameters={"n_epochs": 1, "batch_size": 20}
        )
        assert further.hyperparameters is not None
        assert (further.model, further.hyperparameters.batch_size) == (name, 20)
        client.fine_tuning.jobs.cancel(further.id)
        wait_for(lambda: _is_deleted(client, name), PATIENT_S, "the end of the job that was to start from it")
        with pytest.raises(sdk.NotFoundError):
            client.models.retrieve(name)


def _is_deleted(client: OpenAI, name: str) -> bool:
    try:
        return client.models.delete(name).deleted
    except sdk.ConflictError:
        return False


@pytest.mark.slow
def test_a_job_of_a_large_upload_is_paused_and_goes_on(lab: Lab) -> None:
    content = rows(400).encode()
    with OpenAI(base_url=f"{lab.settings.server_url}/v1", api_key="k") as client:
        done = client.uploads.upload_file_chunked(
            file=io.BytesIO(content).getvalue(),
            filename="large.jsonl",
            bytes=len(content),
            mime_type="application/jsonl",
            purpose="fine-tune",
            part_size=4096,
        )
        assert done.file is not None
        training = {"max_steps": MANY_STEPS, "save_steps": 5, "per_device_train_batch_size": 2}
        job = client.fine_tuning.jobs.create(
            model=ALIAS,
            training_file=done.file.id,
            hyperparameters={"learning_rate_multiplier": 1.0, "n_epochs": 1},
            extra_body={"training": training | {"gradient_accumulation_steps": 1}, "max_retries": 0},
        )
        wait(client, job.id, status="running", step=6)
        assert client.fine_tuning.jobs.pause(job.id).status in ("pausing", "paused")
        paused = wait(client, job.id, status="paused")
        with pytest.raises(sdk.ConflictError):
            client.fine_tuning.jobs.pause(job.id)
        resumed = client.fine_tuning.jobs.resume(job.id)
        assert (resumed.id, resumed.status) == (job.id, "queued")
        wait(client, job.id, status="running", step=paused.step + 2)
        assert client.fine_tuning.jobs.checkpoints.list(job.id).data[0].step_number >= paused.step
        assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
        messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=100)]
        assert len(messages) > 10

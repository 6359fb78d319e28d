"""A run that hangs is noticed, leaves its stacks, and is tried again."""

import io
import signal
import zipfile
from pathlib import Path

import psutil
import pytest

from ftlab import Client
from ftlab.schemas import Dataset
from ftlab.status import FailureCause, JobStatus, ReasonCode
from tests.support.clocks import wait_for
from tests.support.lab import Lab, at_step, follow_until, tiny_job

pytestmark = pytest.mark.slow


def test_a_stopped_worker_counts_as_hung_and_the_job_goes_on(
    client: Client, lab: Lab, dataset: Dataset, tmp_path: Path
) -> None:
    training = {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 8}
    job = client.jobs.create(tiny_job(dataset, max_steps=120, training=training, stuck_timeout_s=10))
    follow_until(client, job, at_step(12))
    [pid] = lab.pids(job.id)
    worker = psutil.Process(pid)
    worker.send_signal(signal.SIGSTOP)
    stopped_at_step = client.jobs.get(job.id).step

    resumed = follow_until(client, job, lambda event: event.data.get("code") == "resuming")
    wait_for(lambda: not worker.is_running(), 10, "the hung worker to be gone")
    done = client.jobs.wait(job.id, timeout_s=180)

    assert done.status is JobStatus.COMPLETED
    first, second = lab.attempts(job.id)
    assert (first.reason, second.reason) == (ReasonCode.WORKER_HUNG, ReasonCode.OK)
    assert "attempt-1-stacks.txt" in (first.message or "")
    assert stopped_at_step - resumed.data["step"] <= 6
    assert done.retries_used == 1
    archive = zipfile.ZipFile(io.BytesIO(client.jobs.download_logs(job.id, tmp_path / "logs.zip").read_bytes()))
    stacks = archive.read("attempt-1-stacks.txt").decode()
    assert f"process {pid} " in stacks
    assert "train_loop (cluster/runs/worker.py" in stacks
    why = client.jobs.failure(job.id)
    assert (why.cause, why.attempt) == (FailureCause.STUCK, 1)
    assert any(line.startswith("Worker 0 is in ") for line in why.evidence)

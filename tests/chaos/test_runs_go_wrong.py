"""Runs that fail by themselves: the right reason, the right retry, and a message that helps."""

import pytest
import torch

from ftlab.status import FailureCause, JobStatus, ReasonCode
from tests.chaos import parts
from tests.chaos.scene import Scene
from tests.support.clocks import wait_for

OVERFLOW = 1e10
"""Weights so many times larger make numbers that no float32 holds."""


@pytest.mark.chaos
def test_a_loss_that_diverges_fails_at_once_and_says_what_to_change(scene: Scene) -> None:
    job = scene.submit(max_steps=60, model=scene.model("overflowing", scale=OVERFLOW))

    failed = scene.finish(job)

    assert (failed.status, failed.reason) == (JobStatus.FAILED, ReasonCode.LOSS_DIVERGED), failed.message
    assert "training.learning_rate" in failed.message
    assert (len(scene.lab.attempts(job.id)), failed.retries_used) == (1, 0)
    assert failed.model_id is None
    why = scene.client.jobs.failure(job.id)
    assert (why.cause, why.confidence) == (FailureCause.DIVERGED, "certain")
    assert any(line.startswith("Rows of step 1: dataset ") for line in why.evidence)


@pytest.mark.chaos
def test_a_job_that_crashes_again_and_again_gives_up_with_the_last_cause(scene: Scene) -> None:
    job = scene.submit(max_steps=100_000, max_retries=1)
    for attempt in (1, 2):
        wait_for(lambda number=attempt: len(scene.lab.attempts(job.id)) == number, 60, f"attempt {attempt}")
        wait_for(lambda: bool(scene.lab.pids(job.id)), 60, "its worker")
        parts.kill(parts.worker(scene.lab, job.id))

    failed = scene.finish(job)

    assert (failed.status, failed.reason) == (JobStatus.FAILED, ReasonCode.RETRY_BUDGET_EXHAUSTED)
    assert ReasonCode.WORKER_CRASHED in failed.message
    assert failed.retries_used == 1


@pytest.mark.chaos
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_without_memory_fails_the_job_and_says_what_to_change(scene: Scene) -> None:
    hog = torch.empty(torch.cuda.mem_get_info()[0] - 64 * 1024**2, dtype=torch.uint8, device="cuda")
    job = scene.submit(max_steps=20)

    failed = scene.finish(job)

    del hog
    assert (failed.status, failed.reason) == (JobStatus.FAILED, ReasonCode.DEVICE_OOM), failed.message
    assert "per_device_train_batch_size" in failed.message
    assert failed.retries_used == 0

"""Runs that fail by themselves: the right reason, the right retry, and a message that helps."""

import pytest
import torch

from ftlab.status import FailureCause, JobStatus, ReasonCode
from tests.chaos import parts
from tests.chaos.outages import suspended
from tests.chaos.scene import Scene
from tests.support.lab import wait_for

STUCK_S = 10
"""The shortest limit that a job can have."""
SEEN_S = 60.0

OVERFLOW = 1e10
"""Weights so many times larger make numbers that no float32 holds."""


def test_a_worker_that_hangs_is_ended_and_tried_again(scene: Scene) -> None:
    job = scene.submit(max_steps=30, stuck_timeout_s=STUCK_S)
    scene.reach(job, 8)
    with suspended(parts.worker(scene.lab, job.id)):
        wait_for(lambda: scene.has_ended(job, attempt=1), SEEN_S, "the hang to be seen")

    done = scene.finish(job)

    hung, second = scene.lab.attempts(job.id)
    assert (hung.reason, second.reason) == (ReasonCode.WORKER_HUNG, ReasonCode.OK)
    assert done.retries_used == 1
    dumps = list((scene.folder(job.id) / "logs").glob("*stack*"))
    assert any("train" in dump.read_text("utf-8") for dump in dumps), "what the worker was doing"


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

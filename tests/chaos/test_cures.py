"""Failures that are analysed right, and cured by the first suggestion of their analysis."""

import json
from pathlib import Path

import psutil
import pytest

from ftlab.schemas import Dataset, FailureAnalysis, Job
from ftlab.status import FailureCause, JobStatus, Phase, ReasonCode
from tests.chaos.memory_limits import add, limit_growth, memory_group
from tests.chaos.scene import NUM_ROWS, Scene
from tests.support.clocks import wait_for
from tests.support.lab import rows

MIB = 1024**2
LONG_ROWS = 64
LONG = {"type": "sft", "max_length": 1024}
GROUP_BYTES = 1000 * MIB
"""A step on half of the long rows at once needs 1.3 GB, with passes of a quarter 0.7 GB."""
EVAL_ROWS = 128
EVAL_BYTES = 1100 * MIB
"""An evaluation of all these rows in one batch needs 1.8 GiB, in batches of a half less than 1 GiB."""
STEPS_TIMEOUT_S = 120.0
POISON = "@"
"""The poisoned model computes NaN from a row with this character."""
POISONED_LINE = 57


def upload(scene: Scene, folder: Path, text: str) -> Dataset:
    file = folder / "rows.jsonl"
    file.write_text(text, "utf-8")
    return scene.client.datasets.upload(file)


def long_rows(count: int = LONG_ROWS) -> str:
    """Rows of about 600 tokens."""
    text = "What holds? " * 150
    messages = [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": text}]
    return "".join(json.dumps({"messages": messages, "id": str(number)}) + "\n" for number in range(count))


def worker_of(scene: Scene, job: Job, attempt: int) -> psutil.Process:
    """The training process of an attempt."""
    wait_for(lambda: len(scene.lab.attempts(job.id)) == attempt, STEPS_TIMEOUT_S, f"attempt {attempt}")
    wait_for(lambda: bool(scene.lab.pids(job.id)), STEPS_TIMEOUT_S, "its worker")
    return psutil.Process(scene.lab.pids(job.id)[0])


def why(scene: Scene, job: Job) -> FailureAnalysis:
    return scene.client.jobs.failure(job.id)


def cure(scene: Scene, job: Job) -> None:
    """Resume with the first suggestion, which must be what the job gets."""
    first = why(scene, job).suggestions[0]
    resumed = scene.client.jobs.resume(job.id, suggested=True)
    [adjustment] = resumed.adjustments
    assert {change.field: change.to for change in adjustment.changes} == {
        change.field: change.to for change in first.changes
    }


@pytest.mark.chaos
def test_a_worker_that_the_kernel_kills_for_lack_of_memory(scene: Scene, tmp_path: Path) -> None:
    long = upload(scene, tmp_path, long_rows())
    training = {"per_device_train_batch_size": LONG_ROWS // 2, "gradient_accumulation_steps": 1}
    model = scene.model("wide", hidden=256)
    with memory_group(f"cures-{tmp_path.name}", GROUP_BYTES) as group:
        if group is None:
            pytest.skip("control groups are not permitted here")
        config = scene.config(max_steps=2, model=model, method=LONG, training=training, max_retries=0)
        job = scene.submit_config(config | {"dataset": long.id})
        add(group, worker_of(scene, job, 1))
        failed = scene.finish(job)
        found = why(scene, job)
        assert failed.status is JobStatus.FAILED
        assert (found.cause, found.phase, found.confidence) == (FailureCause.HOST_MEMORY, Phase.TRAINING, "likely")
        assert any("the kernel killed 1 process" in line for line in found.evidence)
        cure(scene, job)
        add(group, worker_of(scene, job, 2))
        done = scene.finish(job)
    assert done.status is JobStatus.COMPLETED, done.message


@pytest.mark.chaos
def test_an_evaluation_at_step_200_that_needs_more_memory_than_there_is(scene: Scene, tmp_path: Path) -> None:
    held_out = upload(scene, tmp_path, long_rows(EVAL_ROWS))
    training = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "save_steps": 100}
    evaluation = {"per_device_eval_batch_size": EVAL_ROWS, "eval_steps": 200}
    model = scene.model("wide", hidden=256)
    config = scene.config(max_steps=220, model=model, method=LONG, training=training | evaluation, max_retries=0)
    job = scene.submit_config(config | {"eval_dataset": held_out.id})
    # On a CPU a process keeps the memory of the evaluation before the first step; one that resumes has none of it.
    scene.reach(job, 1)
    scene.client.jobs.pause(job.id)
    scene.become(job, JobStatus.PAUSED)
    scene.client.jobs.resume(job.id)
    limit_evaluation(scene, job, attempt=2)
    failed = scene.finish(job)
    found = why(scene, job)
    assert (failed.status, failed.step) == (JobStatus.FAILED, 200)
    assert (found.cause, found.phase, found.confidence) == (FailureCause.HOST_MEMORY, Phase.EVALUATING, "certain")
    assert [change.field for change in found.suggestions[0].changes] == ["training.per_device_eval_batch_size"]
    assert found.resume_from is not None
    assert found.resume_from.step == 100
    cure(scene, job)
    limit_evaluation(scene, job, attempt=3)
    done = scene.finish(job)
    assert done.status is JobStatus.COMPLETED, done.message
    assert [point.step for point in scene.client.jobs.metrics(job.id, names=["eval_loss"])] == [0, 200, 220]


def limit_evaluation(scene: Scene, job: Job, *, attempt: int) -> None:
    """Limit the memory of the attempt's worker while it trains, before it evaluates at step 200."""
    worker = worker_of(scene, job, attempt)
    start = scene.lab.attempts(job.id)[-1].resumed_from_step or 0
    wait_for(lambda: start < scene.client.jobs.get(job.id).step < 200, STEPS_TIMEOUT_S, "a step before the evaluation")
    limit_growth(worker, EVAL_BYTES)


@pytest.mark.chaos
def test_a_training_that_diverges(scene: Scene) -> None:
    """The rate rises until the loss is no longer finite; the first checkpoint is from before that."""
    training = {"learning_rate": 1.0, "optim": "sgd", "max_grad_norm": 0.0, "warmup_steps": 10}
    kept = {"save_steps": 1, "save_total_limit": 10, "gradient_accumulation_steps": 1}
    job = scene.submit(max_steps=12, model=scene.model("steep", scale=10.0), tuning="full", training=training | kept)

    failed = scene.finish(job)

    assert (failed.status, failed.reason) == (JobStatus.FAILED, ReasonCode.LOSS_DIVERGED), failed.message
    found = why(scene, job)
    assert (found.cause, found.confidence) == (FailureCause.DIVERGED, "certain")
    assert [change.field for change in found.suggestions[0].changes] == ["training.learning_rate"]
    assert found.resume_from is not None
    cure(scene, job)
    done = scene.finish(job)
    assert done.status is JobStatus.COMPLETED, done.message
    losses = {point.step: point.value for point in scene.client.jobs.metrics(job.id, names=["loss"])}
    assert list(losses) == list(range(1, 13))
    assert losses[12] < 2 * losses[1], "it trains on from weights that work"


@pytest.mark.chaos
def test_a_row_that_makes_the_loss_nan(scene: Scene, tmp_path: Path) -> None:
    lines = rows(NUM_ROWS).splitlines(keepends=True)
    lines[POISONED_LINE - 1] = lines[POISONED_LINE - 1].replace("It is", f"{POISON} is")
    dataset = upload(scene, tmp_path, "".join(lines))
    training = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "save_steps": 1000}
    model = scene.model("poisoned", tied=False, poison=POISON)
    config = scene.config(max_steps=NUM_ROWS // 2, model=model, training=training)
    job = scene.submit_config(config | {"dataset": dataset.id})

    failed = scene.finish(job)

    assert (failed.status, failed.reason) == (JobStatus.FAILED, ReasonCode.LOSS_DIVERGED), failed.message
    found = why(scene, job)
    [named] = [line for line in found.evidence if line.startswith("Rows of step")]
    assert f"dataset {dataset.id}, lines " in named
    guilty = {int(number) for number in named.partition(", lines ")[2].rstrip(".").split(", ")}
    assert POISONED_LINE in guilty
    assert len(guilty) == 2
    assert (found.suggestions, found.resume_from) == ([], None)
    better = "".join(line for number, line in enumerate(lines, 1) if number not in guilty)
    corrected = upload(scene, tmp_path, better)
    scene.client.jobs.resume(job.id, config_adjustments={"dataset": corrected.id})
    done = scene.finish(job)
    assert done.status is JobStatus.COMPLETED, done.message

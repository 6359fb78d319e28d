"""Automatic recovery: all or nothing, once for each failure, and only where it was asked for."""

from typing import Any

import pytest

from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import EventKind, JobConfig
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.world import World, add_checkpoint
from tracking.store.adjustments import AdjustmentRepository
from tracking.store.jobs import JobRepository
from tracking.store.records import MetricRecord

AUTO: dict[str, Any] = {"recovery": "auto"}
BATCH, PASSES = "training.per_device_train_batch_size", "training.gradient_accumulation_steps"


def fail(world: World, job_id: str, reason: ReasonCode = ReasonCode.DEVICE_OOM) -> None:
    world.end_attempt(job_id, reason, "CUDA out of memory.")
    world.tick(after_s=1)


def log_losses(world: World, job_id: str, *losses: float) -> None:
    attempt = world.job(job_id).attempt
    points = [MetricRecord(job_id, "loss", step, loss, world.now, attempt) for step, loss in enumerate(losses, 1)]
    with world.store.begin() as tx:
        tx.metrics.add(points)


def notices(world: World, job_id: str, code: str) -> list[dict[str, Any]]:
    with world.store.read() as tx:
        events = tx.events.after(job_id, 0, kinds=[EventKind.NOTICE])
    return [event.data for event in events if event.data["code"] == code]


def batch_of(world: World, job_id: str) -> tuple[int, int]:
    config = world.job(job_id).config
    assert isinstance(config, JobConfig)
    return config.training.per_device_train_batch_size, config.training.gradient_accumulation_steps


def test_a_job_without_memory_continues_with_smaller_passes_three_times(world: World):
    job_id = world.running(**AUTO, training={BATCH.rpartition(".")[2]: 16})
    add_checkpoint(world, job_id, 5)
    for number in (1, 2, 3):
        batch = batch_of(world, job_id)
        fail(world, job_id)
        job = world.job(job_id)
        assert (job.attempt, job.retries_used, job.resume_from) == (number + 1, 0, None)
        assert (job.status, len(job.adjustments)) == (JobStatus.PENDING, number)
        assert batch_of(world, job_id)[0] * batch_of(world, job_id)[1] == 16
        adjustment = job.adjustments[-1]
        assert (adjustment.by, adjustment.attempt) == ("automatic", number)
        assert adjustment.reason is not None
        assert adjustment.reason.startswith(f"Attempt {number} of 3 to recover from device_oom.")
        assert batch_of(world, job_id) != batch or number == 3
        world.trains(job_id)
    assert len(notices(world, job_id, "config_adjusted")) == len(notices(world, job_id, "failure_analysed")) == 3
    fail(world, job_id)
    job = world.job(job_id)
    assert (job.status, job.reason, len(job.adjustments)) == (JobStatus.FAILED, ReasonCode.DEVICE_OOM, 3)


def test_the_next_attempt_is_planned_with_the_changed_config(world: World):
    job_id = world.running(**AUTO)
    fail(world, job_id)
    plan = world.driver(job_id).plan
    assert plan is not None
    assert (plan.config.training.per_device_train_batch_size, plan.config.training.gradient_accumulation_steps) == (
        2,
        2,
    )
    [notice] = notices(world, job_id, "config_adjusted")
    assert {change["field"]: (change["from"], change["to"]) for change in notice["changes"]} == {
        BATCH: (4, 2),
        PASSES: (1, 2),
    }


def test_after_a_divergence_the_job_goes_back_to_before_the_loss_rose_with_half_the_rate_once(world: World):
    job_id = world.running(**AUTO)
    for step in (5, 8):
        add_checkpoint(world, job_id, step)
    log_losses(world, job_id, 2.0, 2.1, 1.9, 2.0, 2.0, 1.9, 1.8, 1.8, 40.0)
    fail(world, job_id, ReasonCode.LOSS_DIVERGED)
    job = world.job(job_id)
    assert isinstance(job.config, JobConfig)
    assert (job.status, job.config.learning_rate, job.resume_from) == (JobStatus.PENDING, 1e-4, "step-00000005")
    world.trains(job_id)
    fail(world, job_id, ReasonCode.LOSS_DIVERGED)
    assert (world.status(job_id), world.job(job_id).reason) == (JobStatus.FAILED, ReasonCode.LOSS_DIVERGED)


def test_a_loss_that_rows_made_nan_is_not_tried_again(world: World):
    job_id = world.running(**AUTO)
    log_losses(world, job_id, 2.0, 2.1, 1.9, 2.0)
    fail(world, job_id, ReasonCode.LOSS_DIVERGED)
    assert (world.status(job_id), world.job(job_id).adjustments) == (JobStatus.FAILED, ())


@pytest.mark.parametrize(
    ("setting", "job", "recovers"), [("none", None, False), ("auto", None, True), ("auto", "none", False)]
)
def test_the_setting_of_the_service_is_the_default(world: World, setting: str, job: str | None, recovers: bool):
    world.settings = world.settings.model_copy(update={"recovery": setting})
    world.coordinator = world.new_coordinator()
    job_id = world.running(recovery=job)
    fail(world, job_id)
    assert world.status(job_id) is (JobStatus.PENDING if recovers else JobStatus.FAILED)


@pytest.mark.parametrize("reason", [ReasonCode.DATASET_INVALID, ReasonCode.INTERNAL_ERROR, ReasonCode.DISK_FULL])
def test_other_failures_are_final(world: World, reason: ReasonCode):
    job_id = world.running(**AUTO)
    fail(world, job_id, reason)
    assert (world.status(job_id), world.job(job_id).adjustments) == (JobStatus.FAILED, ())


@pytest.mark.parametrize(("repository", "method"), [(AdjustmentRepository, "apply"), (JobRepository, "move")])
def test_a_crash_in_the_middle_changes_nothing_and_the_next_tick_does_it_once(
    world: World, monkeypatch: pytest.MonkeyPatch, repository: type, method: str
):
    job_id = world.running(**AUTO)
    world.end_attempt(job_id, ReasonCode.DEVICE_OOM, "CUDA out of memory.")
    before = world.job(job_id)
    original = getattr(repository, method)

    def crash(*args: Any, **options: Any) -> None:
        original(*args, **options)
        raise ServiceUnavailableError("The database is away.")

    with monkeypatch.context() as patched:
        patched.setattr(repository, method, crash)
        with pytest.raises(ServiceUnavailableError):
            world.tick()
    assert world.job(job_id) == before
    world.coordinator = world.new_coordinator()
    world.tick(after_s=20)
    job = world.job(job_id)
    assert (len(job.adjustments), job.attempt, batch_of(world, job_id)) == (1, 2, (2, 2))
    assert len(notices(world, job_id, "config_adjusted")) == 1


def test_a_job_that_is_cancelled_at_the_same_time_is_cancelled(world: World):
    job_id = world.running(**AUTO)
    world.cancel(job_id)
    fail(world, job_id)
    assert (world.status(job_id), world.job(job_id).adjustments) == (JobStatus.CANCELLED, ())


def test_a_database_that_is_away_during_the_analysis_costs_no_recovery(world: World, monkeypatch: pytest.MonkeyPatch):
    job_id = world.running(**AUTO)
    world.end_attempt(job_id, ReasonCode.DEVICE_OOM, "CUDA out of memory.")

    def away(*_: Any) -> None:
        raise ServiceUnavailableError("The database is away.")

    with monkeypatch.context() as patched:
        patched.setattr("cluster.coordinator.failed_jobs.analysis_of", away)
        with pytest.raises(ServiceUnavailableError):
            world.tick()
    world.tick(after_s=1)
    assert (world.status(job_id), len(world.job(job_id).adjustments)) == (JobStatus.PENDING, 1)

"""Evaluations in the queue: scheduled, interrupted and ended like every job, but without checkpoints and models."""

from pathlib import Path

import pytest

from cluster.coordinator.start_jobs import _has_no_step
from cluster.data.requests import FetchRequest, WorkState, WorkStatus
from cluster.fakes import FakeEventHub
from cluster.runs.attempt_log import AttemptLog
from ftlab.schemas import EvaluationConfig
from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.cluster.coordinator.world import World, make_dataset
from train.plan import DataFile, EvaluationPlan, MeasuredModel, TrainingPlan

S = JobStatus


def submit(world: World, job_id: str = "job-eval", **changes: object) -> str:
    config = EvaluationConfig.model_validate({"models": ["org/name"], "dataset": "ds-1"} | changes)
    with world.store.begin() as tx:
        if not tx.datasets.list(owner="local"):
            tx.datasets.add(make_dataset())
        tx.jobs.add(job_id, owner="local", name="measured", config=config, now=world.now)
        tx.evaluations.add(job_id, owner="local", key="k", identities=["identity"])
    return job_id


def test_a_run_gets_the_rows_and_the_models(world: World):
    job_id = submit(world)
    world.tick()
    [request] = world.cluster.asked_to_prepare
    assert isinstance(request, FetchRequest)
    assert [file.dataset_id for file in request.files] == ["ds-1"]
    plan = world.driver(job_id).plan
    assert isinstance(plan, EvaluationPlan)
    assert (plan.job_id, plan.attempt, plan.identities) == (job_id, 1, ("identity",))
    assert plan.dataset == DataFile("ds-1", request.files[0].rows)
    assert plan.models == (MeasuredModel("org/name", "base", "org/name"),)
    world.report(job_id, S.INITIALIZING, S.RUNNING)
    assert world.job(job_id).message == "The models are being measured."
    # No step will bring an estimate, and nothing has to wait for one.
    assert not _has_no_step(world.job(job_id))


def test_rows_that_are_not_here_yet_hold_no_device(world: World):
    world.cluster.preparations["ds-1"] = WorkState(WorkStatus.WORKING)
    job_id = submit(world)
    world.tick()
    assert world.status(job_id) is S.QUEUED
    assert world.cluster.running == {}
    world.cluster.preparations["ds-1"] = WorkState(WorkStatus.DONE)
    world.tick(after_s=1)
    assert world.status(job_id) is S.PENDING


def test_it_is_completed_without_a_model(world: World):
    job_id = submit(world)
    world.tick()
    world.report(job_id, S.INITIALIZING, S.RUNNING)
    log = AttemptLog(world.store, FakeEventHub(), world.job(job_id).ref)
    log.complete_without_model()
    log.close()
    job = world.job(job_id)
    assert (job.status, job.reason, job.model_id) == (S.COMPLETED, ReasonCode.OK, None)
    assert job.message == "The evaluation is finished; see its results."
    assert world.attempt(job_id).reason is ReasonCode.OK


def test_a_cancelled_one_stays_cancelled_though_it_finishes(world: World):
    job_id = submit(world)
    world.tick()
    world.report(job_id, S.INITIALIZING, S.RUNNING)
    world.cancel(job_id)
    log = AttemptLog(world.store, FakeEventHub(), world.job(job_id).ref)
    log.complete_without_model()
    log.close()
    world.tick(after_s=1)
    assert (world.status(job_id), world.job(job_id).reason) == (S.CANCELLED, ReasonCode.USER_CANCELLED)


@pytest.mark.parametrize(
    ("kind", "reason", "status"),
    [(StopKind.PAUSE, ReasonCode.OK, S.PAUSED), (StopKind.PREEMPT, ReasonCode.PREEMPTED, S.QUEUED)],
)
def test_a_stopped_one_continues_with_the_missing_rows(
    world: World, kind: StopKind, reason: ReasonCode, status: JobStatus
):
    job_id = submit(world)
    world.tick()
    world.report(job_id, S.INITIALIZING, S.RUNNING)
    with world.store.begin() as tx:
        tx.jobs.move(world.job(job_id).ref, S.PAUSING, now=world.now, stop_kind=kind)
    world.end_attempt(job_id, reason, "Paused at step 4; the 4 measurements so far are kept.")
    world.tick(after_s=1)
    assert status in world.told(job_id)[5:]
    with world.store.read() as tx:
        messages = [event.data["message"] for event in tx.events.after(job_id, 0)]
    assert any("It continues with the rows that are not measured yet." in message for message in messages)


def test_a_failure_is_retried_within_the_budget_of_the_job(world: World):
    job_id = submit(world, max_retries=1)
    world.tick()
    world.report(job_id, S.INITIALIZING, S.RUNNING)
    world.end_attempt(job_id, ReasonCode.WORKER_CRASHED)
    world.tick(after_s=1)
    assert (world.status(job_id), world.job(job_id).retries_used) == (S.QUEUED, 1)
    world.tick(after_s=5)
    world.report(job_id, S.INITIALIZING, S.RUNNING)
    world.end_attempt(job_id, ReasonCode.WORKER_CRASHED)
    world.tick(after_s=1)
    assert (world.status(job_id), world.job(job_id).reason) == (S.FAILED, ReasonCode.RETRY_BUDGET_EXHAUSTED)


def test_it_makes_room_for_a_job_of_higher_priority(world: World):
    job_id = submit(world, priority=10)
    world.tick()
    world.trains(job_id)
    for _ in range(20):
        world.tick(after_s=7)
        world.beat(job_id)
    urgent = world.submit(priority=90)
    world.tick(after_s=1)
    assert world.status(job_id) is S.PAUSING
    world.end_attempt(job_id, ReasonCode.PREEMPTED)
    world.tick(after_s=1)
    assert isinstance(world.driver(urgent).plan, TrainingPlan)
    assert world.status(job_id) is S.QUEUED


def test_a_missing_dataset_fails_it(world: World, tmp_path: Path):
    job_id = submit(world)
    with world.store.begin() as tx:
        tx.datasets._connection.exec_driver_sql("DELETE FROM datasets")
    world.tick()
    assert (world.status(job_id), world.job(job_id).reason) == (S.FAILED, ReasonCode.DATASET_INVALID)

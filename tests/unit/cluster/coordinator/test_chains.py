"""Jobs that wait for other jobs: held back, released in their place, and held with the reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from ftlab.errors import ConflictError
from ftlab.schemas import AnyJobConfig, EvaluationConfig, EventKind, ExportConfig
from ftlab.schemas.events import CHAIN_RELEASED
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.world import World
from tracking.store.ids import new_id
from tracking.store.records import JobRecord, ModelRecord
from train.plan import EvaluationPlan, ExportPlan, TrainingPlan

S = JobStatus
ONE = {"cpus_per_worker": 1}
ADAPTER = {"base_model_name_or_path": "org/name", "r": 8, "lora_alpha": 32, "target_modules": ["q_proj"]}


def child_of(world: World, *parents: str, **config: Any) -> str:
    """What the API adds: the ids in `after`, and a link to each of these jobs."""
    job_id = world.submit(after=list(parents), **config)
    with world.store.begin() as tx:
        tx.chains.add(job_id, parents)
    return job_id


def completes(world: World, job_id: str, adapter: dict[str, Any] | None = ADAPTER) -> str:
    """The job's run delivers a model and ends. The next tick sees it."""
    if world.status(job_id) is not S.RUNNING:
        world.trains(job_id)
    with world.store.begin() as tx:
        number = len(tx.models.all_of_job(job_id)) + 1
        folder, model_id = f"model-{number}", f"mdl-{job_id}-{number}"
        place = world.settings.home / "jobs" / job_id / folder
        place.mkdir(parents=True)
        if adapter is not None:
            (place / "adapter_config.json").write_text(json.dumps(adapter))
        job = tx.jobs.get(job_id)
        values = (job.name, "adapter", "org/name", "c0ffee", 10, Path(folder), None, world.now)
        tx.models.add(ModelRecord(model_id, job.owner, job_id, *values))
        tx.attempts.end(job.ref, reason=ReasonCode.OK, message="Done.", now=world.now)
        tx.jobs.move(job.ref, S.COMPLETED, now=world.now, model_id=model_id)
    world.cluster.running[world.attempt(job_id).driver].state = "ended"
    return model_id


def fails(world: World, job_id: str) -> None:
    world.end_attempt(job_id, ReasonCode.DEVICE_OOM)
    world.tick(after_s=1)


def waiting_for(world: World, job_id: str) -> str:
    return world.job(job_id).waiting_for or ""


def plan_of(world: World, job_id: str) -> TrainingPlan:
    plan = world.driver(job_id).plan
    assert isinstance(plan, TrainingPlan)
    return plan


def released(world: World, job_id: str) -> list[str]:
    with world.store.read() as tx:
        notices = tx.events.after(job_id, 0, kinds=[EventKind.NOTICE])
    return [event.data["message"] for event in notices if event.data["code"] == CHAIN_RELEASED]


def test_a_child_starts_from_the_model_that_its_parent_delivered(world: World):
    parent = world.running()
    child = child_of(world, parent, model=f"job:{parent}")
    world.tick(after_s=1)
    assert world.status(child) is S.QUEUED
    assert waiting_for(world, child) == f"Waiting for job 'a job' ({parent}); that job is running."
    model_id = completes(world, parent)
    world.tick(after_s=1)
    assert world.status(child) is S.PENDING
    plan = plan_of(world, child)
    assert plan.model == str(world.settings.home / "jobs" / parent / "model-1")
    assert (plan.config.model, plan.pinned_revision) == (f"model:{model_id}", "c0ffee")
    # The adapter is continued with its own settings, and the record says where they differ from the expected ones.
    assert (plan.config.lora.r, plan.config.lora.target_modules) == (8, ["q_proj"])
    first, *changes = released(world, child)
    assert first == (
        f"The job that this one waited for has completed: job 'a job' ({parent}, attempt 1, model {model_id})."
    )
    assert "lora.r is 8, that of the delivered adapter; at the submission it was 16." in changes
    with world.store.read() as tx:
        [link] = tx.chains.links_of([child])
    assert (link.parent_id, link.parent_attempt, link.model_id) == (parent, 1, model_id)
    assert world.job(child).submitted_config["model"] == f"model:{model_id}"


def test_a_later_run_of_the_parent_changes_nothing(world: World):
    parent = world.running(resources=ONE)
    child = child_of(world, parent, model=f"job:{parent}", resources=ONE)
    model_id = completes(world, parent)
    world.tick(after_s=1)
    world.append(parent)  # which reopens it
    world.trains(child)
    world.end_attempt(child, ReasonCode.WORKER_CRASHED)
    world.tick(after_s=1)
    world.tick(after_s=120)
    assert world.attempt(child).number == 2, "it does not wait for its parent again"
    assert plan_of(world, child).config.model == f"model:{model_id}"


def test_what_happened_while_no_coordinator_ran_is_made_up_for(world: World):
    parent = world.running()
    child = child_of(world, parent, model=f"job:{parent}")
    completes(world, parent)
    world.coordinator = world.new_coordinator()
    world.tick(after_s=600)
    assert world.status(child) is S.PENDING


def test_a_child_that_was_released_just_before_a_crash_is_not_released_again(world: World, monkeypatch: Any):
    from cluster.coordinator import start_jobs

    parent = world.running()
    child = child_of(world, parent, model=f"job:{parent}")
    completes(world, parent)
    with monkeypatch.context() as patch:
        patch.setattr(start_jobs, "read_queue", lambda *_: None)  # it is killed between the release and the start
        world.tick(after_s=1)
    assert (world.status(child), len(released(world, child))) == (S.QUEUED, 2)
    world.coordinator = world.new_coordinator()
    world.tick(after_s=60)
    assert (world.status(child), len(released(world, child))) == (S.PENDING, 2)


def test_a_failed_parent_holds_its_children_until_it_has_been_resumed(world: World):
    parent = world.running()
    child = child_of(world, parent)
    grandchild = child_of(world, child)
    fails(world, parent)
    world.tick(after_s=1)
    world.tick(after_s=1)
    held = f"Held: job 'a job' ({parent}), which it waits for, has failed (device_oom)."
    assert waiting_for(world, child).startswith(held)
    assert waiting_for(world, grandchild) == (
        f"Waiting for job 'a job' ({child}); that job is held. {waiting_for(world, child)}"
    )
    world.resume(parent)
    world.tick(after_s=1)
    assert world.status(parent) is S.PENDING
    assert waiting_for(world, child).startswith("Waiting for job")
    completes(world, parent)
    world.tick(after_s=1)
    assert [world.status(each) for each in (child, grandchild)] == [S.PENDING, S.QUEUED]


def test_a_cancelled_parent_holds_and_a_paused_one_is_waited_for(world: World):
    cancelled, paused = world.submit(), world.submit(priority=0)
    with world.store.begin() as tx:
        tx.jobs.move(world.job(paused).ref, S.PAUSED, now=world.now)
        for status in (S.CANCELLING, S.CANCELLED):
            tx.jobs.move(world.job(cancelled).ref, status, now=world.now)
    held, waiting = child_of(world, cancelled, paused), child_of(world, paused)
    world.tick()
    assert f"({cancelled}), which it waits for, was cancelled." in waiting_for(world, held)
    assert waiting_for(world, waiting).endswith("that job is paused, and continues once it is resumed.")


def test_a_child_waits_for_all_its_parents(world: World):
    first, second = world.running(resources=ONE), world.running(resources=ONE)
    child = child_of(world, first, second)
    world.tick(after_s=1)
    assert " and 1 more job; that job is" in waiting_for(world, child)
    completes(world, first)
    world.tick(after_s=1)
    assert (world.status(child), str(second) in waiting_for(world, child)) == (S.QUEUED, True)
    completes(world, second)
    world.tick(after_s=1)
    assert world.status(child) is S.PENDING


def test_waiting_children_hide_no_job_and_hold_no_device(world: World, monkeypatch: Any):
    monkeypatch.setattr("cluster.coordinator.chain_gate.CHAIN_WINDOW", 4)
    monkeypatch.setattr("cluster.coordinator.queue_snapshot.QUEUE_WINDOW", 4)
    parent = world.submit()
    with world.store.begin() as tx:
        tx.jobs.move(world.job(parent).ref, S.PAUSED, now=world.now)
    children = [child_of(world, parent, priority=100) for _ in range(8)]
    other = world.submit(priority=1)
    world.tick()
    assert world.status(other) is S.PENDING
    assert world.status(children[0]) is S.QUEUED
    # More than a tick looks at: the one that can be released does not wait behind those that cannot.
    late = child_of(world, other)
    completes(world, other)
    world.tick(after_s=1)
    assert world.status(late) is S.PENDING


def test_a_child_keeps_its_place_in_the_queue(world: World):
    parent = world.running()
    child = child_of(world, parent)
    later = world.submit()
    completes(world, parent)
    world.tick(after_s=1)
    assert [world.status(each) for each in (child, later)] == [S.PENDING, S.QUEUED]


@pytest.mark.parametrize(
    ("adapter", "reason", "message"),
    [
        (None, ReasonCode.MODEL_NOT_FOUND, "are no longer on this machine"),
        (ADAPTER | {"r": "many"}, ReasonCode.CONFIG_INVALID, "adapter_config.json of the adapter cannot be read"),
        (ADAPTER | {"task_type": "SEQ_CLS"}, ReasonCode.CONFIG_INVALID, "is a reward model"),
    ],
)
def test_a_model_that_does_not_fit_fails_the_child_alone(
    world: World, adapter: dict[str, Any] | None, reason: ReasonCode, message: str
):
    parent = world.running()
    child, other = child_of(world, parent, model=f"job:{parent}"), world.submit()
    completes(world, parent, adapter)
    world.tick(after_s=1)
    assert (world.status(child), world.job(child).reason) == (S.FAILED, reason)
    assert message in world.job(child).message
    assert world.status(other) is S.PENDING


def test_a_parent_without_a_model_fails_a_child_that_starts_from_it(world: World):
    parent = world.running()
    child, follower = child_of(world, parent, model=f"job:{parent}"), child_of(world, parent)
    with world.store.begin() as tx:
        tx.attempts.end(world.job(parent).ref, reason=ReasonCode.OK, message="Done.", now=world.now)
        tx.jobs.move(world.job(parent).ref, S.COMPLETED, now=world.now)
    world.tick(after_s=1)
    assert world.job(child).message == f"Job {parent!r} has completed without a model."
    assert world.status(follower) is S.PENDING


def reader_of(world: World, parent: str, config: AnyJobConfig) -> str:
    """A queued job that reads what its parent delivers."""
    job_id = new_id("job")
    with world.store.begin() as tx:
        tx.jobs.add(job_id, owner="local", name="reader", config=config, now=world.now)
        tx.chains.add(job_id, [parent])
    return job_id


def test_an_evaluation_measures_what_was_delivered(world: World):
    parent = world.running()
    config = EvaluationConfig.model_validate(
        {"models": ["org/other", f"job:{parent}"], "dataset": "ds-1", "after": parent}
    )
    job_id = reader_of(world, parent, config)
    model_id = completes(world, parent)
    world.tick(after_s=1)
    plan = world.driver(job_id).plan
    assert isinstance(plan, EvaluationPlan)
    assert [model.name for model in plan.models] == ["org/other", "org/name", f"model:{model_id}"]


def test_what_was_delivered_is_exported(world: World):
    parent = world.running()
    job_id = reader_of(world, parent, ExportConfig(model=f"job:{parent}", after=[parent]))
    model_id = completes(world, parent)
    world.tick(after_s=1)
    assert world.job(job_id).config.named_models == {"model": f"model:{model_id}"}
    assert isinstance(world.driver(job_id).plan, ExportPlan)


def test_a_job_is_not_deleted_while_another_one_waits_for_it(world: World):
    parent = world.running()
    child = child_of(world, parent)
    fails(world, parent)
    with world.store.begin() as tx, pytest.raises(ConflictError, match=f"while job '{child}' waits for it"):
        tx.deletions.delete_job(parent, now=world.now)
    assert isinstance(world.job(parent), JobRecord)

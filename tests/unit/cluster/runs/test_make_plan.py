"""Where a run finds its base model and its rows."""

from pathlib import Path

import pytest

from cluster.runs.make_plan import make_plan
from cluster.runs.model_location import locate
from ftlab.errors import NotFoundError
from ftlab.model_ref import parse_model_ref
from tests.unit.cluster.coordinator.world import World, add_checkpoint
from tracking.store.records import MetricRecord, ModelRecord


def location(world: World, text: str) -> str:
    with world.store.read() as tx:
        return locate(tx, world.settings, parse_model_ref(text)).model


@pytest.mark.parametrize("text", ["org/name", "org/name@main", "/models/mine"])
def test_what_is_not_ours_is_found_by_the_run(world: World, text: str):
    assert location(world, text) == text


def test_a_model_of_ours_is_a_folder(world: World):
    job_id = world.running()
    folder = world.settings.home / "jobs" / job_id
    add_checkpoint(world, job_id, 10)
    assert location(world, f"job:{job_id}/step-10") == str(folder / "checkpoints" / "step-00000010")
    with world.store.begin() as tx:
        tx.models.add(
            ModelRecord(
                "mdl-1", "local", job_id, "a", "adapter", "org/name", None, 10, folder / "model", None, world.now
            )
        )
    assert location(world, "model:mdl-1") == location(world, f"job:{job_id}") == str(folder / "model")


def test_a_model_that_is_gone(world: World):
    with pytest.raises(NotFoundError):
        location(world, "model:mdl-none")


def test_the_second_attempt_is_told_what_the_first_one_found(world: World):
    job_id = world.running(resources={"num_workers": 2})
    add_checkpoint(world, job_id, 10)
    add_checkpoint(world, job_id, 20)
    with world.store.begin() as tx:
        ref = world.job(job_id).ref
        tx.jobs.set_model_revision(ref, "local-1")
        tx.jobs.record_progress(ref, step=25, total_steps=30, epoch=1.0, now=world.now)
        tx.metrics.add([MetricRecord(job_id, "eval_loss", step, 1.0, world.now, 1) for step in (0, 10, 20)])
    with world.store.read() as tx:
        plan = make_plan(tx, world.settings, world.job(job_id), world.attempt(job_id), world.now)
    assert (plan.pinned_revision, plan.threads, plan.eval_rows) == ("local-1", 2, None)
    assert (plan.recorded_step, plan.recorded_eval_step, sorted(plan.recorded_checkpoints)) == (25, 20, [10, 20])
    assert plan.checkpoints_folder == Path(world.settings.home) / "jobs" / job_id / "checkpoints"

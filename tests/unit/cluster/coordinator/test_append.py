"""Files that are appended to a job in each status, and what the coordinator makes of it."""

import pytest

from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.cluster.coordinator.simulated_driver import Player
from tests.unit.cluster.coordinator.world import World, add_checkpoint, make_dataset


def submit(world: World) -> str:
    """A queued job, with datasets to append."""
    job_id = world.submit()
    with world.store.begin() as tx:
        for dataset_id in ("ds-2", "ds-3"):
            tx.datasets.add(make_dataset(dataset_id))
    return job_id


def start(world: World) -> str:
    job_id = submit(world)
    world.tick()
    world.trains(job_id)
    return job_id


def files(world: World, job_id: str) -> list[str]:
    """What the job's newest run was told to train on."""
    plan = world.driver(job_id).plan
    assert plan is not None
    return [file.dataset_id for file in plan.train_files]


def complete(world: World, job_id: str, step: int = 8) -> None:
    """The run delivers its model."""
    add_checkpoint(world, job_id, step)
    Player(world, world.driver(job_id)).finish()
    world.tick(after_s=10)


def test_a_queued_job_starts_with_all_its_files(world: World):
    job_id = submit(world)
    world.append(job_id, "ds-2")
    world.append(job_id, "ds-3", "ds-2")
    world.tick()
    assert files(world, job_id) == ["ds-1", "ds-2", "ds-3", "ds-2"]


@pytest.mark.parametrize("reached", [[], [JobStatus.INITIALIZING]], ids=["pending", "initializing"])
def test_a_run_with_nothing_to_save_is_replaced_at_once(world: World, reached: list[JobStatus]):
    job_id = submit(world)
    world.tick()
    world.report(job_id, *reached)
    first = world.attempt(job_id).driver
    world.append(job_id, "ds-2")
    world.take_in()
    assert world.cluster.ended == [first]
    assert (world.status(job_id), world.attempt(job_id).number) == (JobStatus.PENDING, 2)
    assert files(world, job_id) == ["ds-1", "ds-2"]
    assert world.told(job_id)[-3:] == ["pausing", "queued", "pending"]


def test_a_run_saves_and_goes_on_at_once_with_the_longer_plan(world: World):
    job_id = start(world)
    waiting = world.submit()
    world.append(job_id, "ds-2")
    world.take_in()
    assert world.driver(job_id).stops == [StopKind.EXTEND]
    world.stops(job_id, ReasonCode.OK, saved_step=7)
    assert (world.status(job_id), world.status(waiting)) == (JobStatus.PENDING, JobStatus.QUEUED)
    job, attempt = world.job(job_id), world.attempt(job_id)
    assert (job.retries_used, attempt.number, attempt.resumed_from_step) == (0, 2, 7)
    assert files(world, job_id) == ["ds-1", "ds-2"]
    with world.store.read() as tx:
        messages = [event.data["message"] for event in tx.events.after(job_id, 0) if "status" in event.data]
    assert "Queued again because files were appended. It continues from its checkpoint of step 7." in messages


def test_a_run_that_crashes_while_it_is_to_save_costs_no_retry(world: World):
    job_id = start(world)
    add_checkpoint(world, job_id, 3)
    world.append(job_id, "ds-2")
    world.take_in()
    world.cluster.crash(world.attempt(job_id).driver)
    world.tick()
    world.tick()
    assert (world.job(job_id).retries_used, world.attempt(job_id).resumed_from_step) == (0, 3)
    assert files(world, job_id) == ["ds-1", "ds-2"]


def test_a_run_that_delivers_before_it_hears_of_the_files_has_not_finished(world: World):
    job_id = start(world)
    world.append(job_id, "ds-2")
    complete(world, job_id)
    assert world.status(job_id) is JobStatus.PENDING
    assert files(world, job_id) == ["ds-1", "ds-2"]
    with world.store.read() as tx:
        assert tx.models.of_job(job_id) is None


def test_a_pause_that_follows_wins_and_a_resume_trains_all_files(world: World):
    job_id = start(world)
    world.append(job_id, "ds-2")
    world.pause(job_id)
    world.tick()
    world.stops(job_id, ReasonCode.OK, saved_step=7)
    assert world.status(job_id) is JobStatus.PAUSED
    world.append(job_id, "ds-3")
    world.resume(job_id)
    world.tick()
    assert files(world, job_id) == ["ds-1", "ds-2", "ds-3"]


def test_a_completed_job_goes_on_from_its_last_checkpoint_and_delivers_a_second_model(world: World):
    job_id = start(world)
    complete(world, job_id)
    assert world.status(job_id) is JobStatus.COMPLETED
    first = world.job(job_id).model_id
    world.append(job_id, "ds-2", "ds-3")
    world.tick()
    attempt, plan = world.attempt(job_id), world.driver(job_id).plan
    assert plan is not None
    assert (attempt.number, attempt.resumed_from_step, world.job(job_id).model_id) == (2, 8, first)
    assert files(world, job_id) == ["ds-1", "ds-2", "ds-3"]
    assert [world.settings.home / "jobs" / job_id / "model-2", 2] == [plan.model_folder, plan.model_number]
    world.trains(job_id)
    complete(world, job_id, 20)
    assert world.status(job_id) is JobStatus.COMPLETED
    with world.store.read() as tx:
        models = [model.id for model in tx.models.all_of_job(job_id)]
    assert len(models) == 2
    assert world.job(job_id).model_id == models[1] != first


def test_a_reopened_job_can_be_cancelled_and_keeps_its_model(world: World):
    job_id = start(world)
    complete(world, job_id)
    world.append(job_id, "ds-2")
    with world.store.begin() as tx:
        tx.jobs.move(world.job(job_id).ref, JobStatus.CANCELLING, now=world.now)
        tx.jobs.move(world.job(job_id).ref, JobStatus.CANCELLED, now=world.now)
    world.tick()
    job = world.job(job_id)
    assert (job.status, job.reason, job.model_id is not None) == (
        JobStatus.CANCELLED,
        ReasonCode.USER_CANCELLED,
        True,
    )

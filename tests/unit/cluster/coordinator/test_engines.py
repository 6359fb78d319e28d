"""An engine in the queue: it starts without data, and ends for a job of higher priority."""

import pytest

from ftlab.schemas import EngineConfig
from ftlab.status import JobStatus, Phase, ReasonCode, StopKind
from tests.unit.cluster.coordinator.world import World
from tracking.store.ids import new_id
from train.plan import EnginePlan


def add_engine(world: World) -> str:
    with world.store.begin() as tx:
        return tx.jobs.add(
            new_id("job"),
            owner="local",
            name="engine of org/name",
            config=EngineConfig(model="org/name", idle_timeout_s=7),
            now=world.now,
            model_revision="local-1",
        ).id


def enter(world: World, engine: str, phase: Phase) -> None:
    """The engine reports a phase."""
    with world.store.begin() as tx:
        tx.jobs.record_progress(world.job(engine).ref, step=0, total_steps=None, epoch=None, phase=phase, now=world.now)


def test_an_engine_starts_without_data(world: World):
    engine = add_engine(world)
    world.tick()

    plan = world.driver(engine).plan
    assert isinstance(plan, EnginePlan)
    assert (plan.model, plan.pinned_revision, plan.config.idle_timeout_s) == ("org/name", "local-1", 7)


@pytest.mark.parametrize("is_forced", [False, True])
def test_an_engine_ends_for_a_job_of_higher_priority(world: World, is_forced: bool):
    engine = add_engine(world)
    world.tick()
    world.trains(engine)
    world.submit(priority=90)
    world.tick(after_s=world.settings.preemption_min_run_s + 1)
    assert (world.status(engine), world.job(engine).stop_kind) == (JobStatus.PAUSING, StopKind.PREEMPT)

    world.stops(engine, ReasonCode.WORKER_CRASHED if is_forced else ReasonCode.PREEMPTED)
    job = world.job(engine)
    assert (job.status, job.reason) == (JobStatus.COMPLETED, ReasonCode.OK)
    assert job.message.endswith("The next request starts another one.")


def test_an_idle_engine_makes_room_for_a_job_of_its_priority(world: World):
    engine = add_engine(world)
    world.tick()
    world.trains(engine)
    waiting = world.submit()
    world.tick(after_s=world.settings.preemption_min_run_s + 1)
    assert world.status(engine) is JobStatus.RUNNING, "it answers"

    enter(world, engine, Phase.IDLE)
    world.tick()
    assert (world.status(engine), world.job(engine).stop_kind) == (JobStatus.PAUSING, StopKind.PREEMPT)
    assert world.job(engine).message == f"Job {waiting} of priority 50 needs the devices; this engine ends."

    world.stops(engine, ReasonCode.PREEMPTED)
    assert world.status(engine) is JobStatus.COMPLETED
    world.tick()
    assert world.status(waiting) is JobStatus.PENDING


def test_an_engine_that_answers_again_stays(world: World):
    engine = add_engine(world)
    world.tick()
    world.trains(engine)
    enter(world, engine, Phase.IDLE)
    enter(world, engine, Phase.ANSWERING)
    world.submit()
    world.tick()
    assert world.status(engine) is JobStatus.RUNNING

"""Sweeps in a stepped coordinator: trials are moved along by hand, and their values are given."""

from typing import Any

from cluster.coordinator.coordinator import Coordinator
from cluster.coordinator.sweep_suggestions import Suggestions
from cluster.fakes import AtOnce
from ftlab.schemas.sweep_rules import check_sweep
from ftlab.schemas.sweeps import SweepConfig, SweepStatus, TrialState
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.world import START, World, add_checkpoint
from tests.unit.tracking.samples import running_sweep
from tracking.store.records import MetricRecord
from tracking.store.sweeps import SweepRecord, TrialRecord

JOB: dict[str, Any] = {
    "model": "org/name",
    "dataset": "ds-1",
    "eval_split": 0.2,
    "training": {"max_steps": 90, "eval_steps": 10},
    "resources": {"cpus_per_worker": 1},
}
PARAMETERS = {"training.learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}, "lora.r": [4, 8]}
HALVING = {"type": "successive_halving", "min_steps": 10, "reduction_factor": 3}


def restart(world: World) -> None:
    """A new coordinator, which knows nothing but the database."""
    parts = (world.store, world.cluster, world.hub, world.settings)
    suggestions = Suggestions(AtOnce())
    world.coordinator = Coordinator(*parts, **world.clocks, suggestions=suggestions)


def start(world: World, method: Any = "random", job: dict[str, Any] | None = None, **fields: Any) -> str:
    document = {"job": job or JOB, "parameters": PARAMETERS, "method": method, "max_trials": 3, **fields}
    sweep = SweepConfig.model_validate(document)
    checked = check_sweep(sweep)
    record = running_sweep(
        sweep.model_dump(mode="json"),
        whole=checked.whole,
        now=START,
        rungs=checked.rungs,
        max_trials=checked.max_trials,
    )
    with world.store.begin() as tx:
        tx.sweeps.add(record)
    return record.id


def sweep(world: World, sweep_id: str) -> SweepRecord:
    with world.store.read() as tx:
        return tx.sweeps.get(sweep_id)


def trials(world: World, sweep_id: str) -> list[TrialRecord]:
    with world.store.read() as tx:
        return tx.sweeps.trials(sweep_id)


def change(world: World, sweep_id: str, status: SweepStatus) -> None:
    """What the API does."""
    with world.store.begin() as tx:
        tx.sweeps.move(tx.sweeps.get(sweep_id), status, "It was asked for.", now=world.now)


def job_of(trial: TrialRecord) -> str:
    assert trial.job_id is not None
    return trial.job_id


def measure(world: World, job_id: str, values: dict[int, float], name: str = "eval_loss") -> None:
    attempt = world.job(job_id).attempt
    with world.store.begin() as tx:
        tx.metrics.add([MetricRecord(job_id, name, step, value, world.now, attempt) for step, value in values.items()])


def ends(
    world: World, job_id: str, reason: ReasonCode = ReasonCode.OK, value: float | None = None, *, step: int = 10
) -> None:
    if value is not None:
        measure(world, job_id, {0: 9.0, step: value})
    if world.status(job_id) is JobStatus.PENDING:
        world.trains(job_id)
    world.end_attempt(job_id, reason, "It is over.")
    if reason is ReasonCode.OK:
        world.report(job_id, JobStatus.COMPLETED)
    world.tick(after_s=1)
    world.tick(after_s=1)


def run_to_end(world: World, sweep_id: str, *, restarting: bool = False) -> list[TrialRecord]:
    """Trial `n` ends with the value 2.0 - 0.5 * n."""
    for _ in range(30):
        if restarting:
            restart(world)
        world.tick(after_s=1)
        for trial in trials(world, sweep_id):
            if trial.state is TrialState.RUNNING and world.status(job_of(trial)) is JobStatus.PENDING:
                if restarting:
                    restart(world)
                ends(world, job_of(trial), value=2.0 - 0.5 * trial.number)
        if sweep(world, sweep_id).is_settled:
            return trials(world, sweep_id)
    raise AssertionError("the sweep does not end")


def reach(world: World, trial: TrialRecord, step: int, value: float) -> None:
    """The run of the trial reaches a rung, and pauses if the sweep asks for it."""
    job_id = job_of(trial)
    if world.status(job_id) is JobStatus.PENDING:
        world.trains(job_id)
    measure(world, job_id, {step: value})
    with world.store.begin() as tx:
        ref = tx.jobs.get(job_id).ref
        assert tx.jobs.record_progress(ref, step=step, total_steps=90, epoch=0.1, now=world.now)
    world.beat(job_id)
    world.tick(after_s=1)
    if world.status(job_id) is JobStatus.PAUSING:
        add_checkpoint(world, job_id, step)
        world.end_attempt(job_id, ReasonCode.OK, "Stopped as it was asked to.")
        world.tick(after_s=1)


def halve_to_end(world: World, sweep_id: str, values: list[list[float]]) -> list[TrialRecord]:
    """Run trials from rung to rung; trial `n` has `values[n]` at the rungs and at the end."""
    for _ in range(100):
        world.tick(after_s=1)
        record = sweep(world, sweep_id)
        if record.is_settled:
            return trials(world, sweep_id)
        for trial in trials(world, sweep_id):
            if trial.state is TrialState.RUNNING and world.status(job_of(trial)) in (
                JobStatus.PENDING,
                JobStatus.RUNNING,
            ):
                value = values[trial.number][trial.rung]
                if trial.rung < len(record.rungs):
                    reach(world, trial, record.rungs[trial.rung], value)
                else:
                    ends(world, job_of(trial), value=value, step=90)
    raise AssertionError("the sweep does not end")

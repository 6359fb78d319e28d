"""What users and crashes do to a sweep while it works, and trials that cannot be compared."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from cluster.coordinator.sweeps import ALL_PAUSED, SEARCHING, Sweeps
from cluster.coordinator.tick import Tick
from ftlab.schemas.sweeps import SweepStatus, TrialState
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.sweep_world import (
    HALVING,
    JOB,
    change,
    ends,
    halve_to_end,
    job_of,
    measure,
    reach,
    restart,
    run_to_end,
    start,
    sweep,
    trials,
)
from tests.unit.cluster.coordinator.world import World
from tracking.store import Transaction
from tracking.store.records import MlflowCursor
from tracking.store.sweep_rows import sweeps
from tracking.store.sweeps import TrialRecord

VALUES = [[2.0, 1.8, 1.7], [1.0, 0.9, 0.8], [3.0, 2.9, 2.8], [0.5, 0.45, 0.4]]
KILLS_A_TICK = 12


class KilledError(BaseException):
    """The coordinator's process dies."""


def kill_around_every_write(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each write of a sweep is lost at first, and then the coordinator dies right after it. Gives the deaths."""
    begin, advance, deaths = world.store.begin, Sweeps.advance, list[str]()
    is_advancing = [False]

    @contextmanager
    def fragile() -> Iterator[Transaction]:
        if not is_advancing[0] or len(deaths) - before[0] >= KILLS_A_TICK:
            with begin() as tx:
                yield tx
            return
        deaths.append("after" if deaths and deaths[-1] == "before" else "before")
        with begin() as tx:
            yield tx
            if deaths[-1] == "before":
                raise KilledError
        raise KilledError

    def watched(self: Sweeps, tick: Tick) -> None:
        is_advancing[0] = True
        try:
            advance(self, tick)
        finally:
            is_advancing[0] = False

    before = [0]

    def tick(*, after_s: float = 0.0) -> None:
        world.now += timedelta(seconds=after_s)
        before[0] = len(deaths)
        while True:
            try:
                return world.coordinator.tick()
            except KilledError:
                restart(world)

    monkeypatch.setattr(world.store, "begin", fragile)
    monkeypatch.setattr(Sweeps, "advance", watched)
    monkeypatch.setattr(world, "tick", tick)
    return deaths


def outcome(found: list[TrialRecord]) -> list[tuple[object, ...]]:
    return [(each.number, each.parameters, each.state, each.value, each.rung_values, each.message) for each in found]


@pytest.mark.parametrize("method", [{"type": "tpe", "num_random": 1}, HALVING | {"sampler": "tpe"}])
def test_a_death_around_every_write_changes_nothing(sweeping: World, monkeypatch: pytest.MonkeyPatch, method: Any):
    def run() -> list[tuple[object, ...]]:
        sweep_id = start(sweeping, method, max_trials=4, max_parallel=1)
        finish = halve_to_end(sweeping, sweep_id, VALUES) if method["type"] != "tpe" else run_to_end(sweeping, sweep_id)
        assert sweep(sweeping, sweep_id).status is SweepStatus.COMPLETED
        with sweeping.store.read() as tx:
            assert len(tx.jobs.list(owner="local", sweep_id=sweep_id)) == 4
        return outcome(finish)

    steady = run()
    deaths = kill_around_every_write(sweeping, monkeypatch)
    assert run() == steady
    assert min(deaths.count("before"), deaths.count("after")) >= 9  # each trial is added and ends, then the sweep


def test_a_user_promotes_a_paused_trial_by_resuming_it(sweeping: World):
    sweep_id = start(sweeping, HALVING, max_trials=2, max_parallel=1)
    sweeping.tick()
    [first] = trials(sweeping, sweep_id)
    reach(sweeping, first, 10, 2.0)
    assert trials(sweeping, sweep_id)[0].state is TrialState.PRUNED
    sweeping.resume(job_of(first))
    sweeping.tick(after_s=1)
    first, *_ = trials(sweeping, sweep_id)
    assert (first.state, first.rung, first.message) == (TrialState.RUNNING, 1, None)
    sweeping.tick(after_s=1)
    reach(sweeping, first, 30, 1.9)
    first, *_ = trials(sweeping, sweep_id)
    assert (first.state, first.rung_values) == (TrialState.PRUNED, (2.0, 1.9))  # compared at the next rung


def test_a_trial_that_is_resumed_in_a_paused_sweep_stays_resumed(sweeping: World):
    sweep_id = start(sweeping, HALVING, max_trials=1)
    sweeping.tick()
    job_id = job_of(trials(sweeping, sweep_id)[0])
    change(sweeping, sweep_id, SweepStatus.PAUSED)  # so that the last one of its rung is not promoted at once
    sweeping.trains(job_id)
    reach(sweeping, trials(sweeping, sweep_id)[0], 10, 2.0)
    assert trials(sweeping, sweep_id)[0].state is TrialState.PRUNED
    sweeping.resume(job_id)
    for _ in range(3):
        sweeping.tick(after_s=1)
    assert sweeping.status(job_id) is JobStatus.PENDING
    change(sweeping, sweep_id, SweepStatus.RUNNING)
    sweeping.tick(after_s=1)
    [trial] = trials(sweeping, sweep_id)
    assert (trial.state, trial.rung, trial.is_held) == (TrialState.RUNNING, 1, False)


def test_a_sweep_whose_trials_were_paused_says_what_it_waits_for(sweeping: World):
    sweep_id = start(sweeping, max_trials=2, max_parallel=2)
    for _ in range(3):
        sweeping.tick(after_s=1)
    first, second = (job_of(trial) for trial in trials(sweeping, sweep_id))
    for job_id in (first, second):
        sweeping.trains(job_id)
        sweeping.pause(job_id)
        sweeping.stops(job_id, ReasonCode.OK, saved_step=3)
    sweeping.tick(after_s=1)
    assert sweep(sweeping, sweep_id).message == ALL_PAUSED
    sweeping.resume(first)
    sweeping.tick(after_s=1)
    assert sweep(sweeping, sweep_id).message == SEARCHING
    assert sweeping.status(second) is JobStatus.PAUSED


def test_a_job_that_its_owner_is_pausing_is_not_resumed_with_the_sweep(sweeping: World):
    sweep_id = start(sweeping, max_parallel=1)
    sweeping.tick()
    [job_id] = map(job_of, trials(sweeping, sweep_id))
    sweeping.trains(job_id)
    sweeping.pause(job_id)
    change(sweeping, sweep_id, SweepStatus.PAUSED)
    sweeping.tick(after_s=1)
    sweeping.stops(job_id, ReasonCode.OK, saved_step=3)
    change(sweeping, sweep_id, SweepStatus.RUNNING)
    for _ in range(3):
        sweeping.tick(after_s=1)
    assert sweeping.status(job_id) is JobStatus.PAUSED


def test_a_job_that_is_resumed_after_the_sweep_ended_is_left_alone(sweeping: World):
    sweep_id = start(sweeping, HALVING, max_trials=2, max_parallel=1)
    done = halve_to_end(sweeping, sweep_id, VALUES)
    [pruned] = [trial for trial in done if trial.state is TrialState.PRUNED]
    sweeping.resume(job_of(pruned))
    for _ in range(3):
        sweeping.tick(after_s=1)
    assert sweeping.status(job_of(pruned)) is JobStatus.PENDING
    assert trials(sweeping, sweep_id) == done


def test_a_budget_that_is_used_up_between_two_rungs(sweeping: World):
    """The one that runs and the one that is paused at a rung are cancelled, and the sweep comes to its end."""
    sweep_id = start(sweeping, HALVING, max_trials=9, max_parallel=1, max_time_s=60)
    sweeping.tick()
    reach(sweeping, trials(sweeping, sweep_id)[0], 10, 2.0)
    sweeping.tick(after_s=1)
    sweeping.tick(after_s=1)
    second = job_of(trials(sweeping, sweep_id)[1])
    sweeping.trains(second)
    sweeping.steps(second, 5)
    sweeping.now += timedelta(seconds=61)
    sweeping.beat(second)
    sweeping.tick()
    ended = sweep(sweeping, sweep_id)
    assert ended.status is SweepStatus.COMPLETED
    assert ended.message.startswith("max_time_s (60) is used up after ")
    assert ended.message.endswith("; no trial had completed.")
    sweeping.tick(after_s=1)
    sweeping.stops(second, ReasonCode.USER_CANCELLED, saved_step=6)
    sweeping.tick(after_s=1)
    assert [trial.state for trial in trials(sweeping, sweep_id)] == [TrialState.PRUNED, TrialState.CANCELLED]
    assert sweep(sweeping, sweep_id).is_settled


@pytest.mark.parametrize(("metric", "value"), [("eval_loss", float("nan")), ("eval_lss", 1.0)])
def test_a_trial_without_a_value_at_its_rung_fails_there(sweeping: World, metric: str, value: float):
    """It can never be compared: training it to its last step would be for nothing."""
    sweep_id = start(sweeping, HALVING, max_parallel=1, max_failures=2, objective={"metric": metric})
    for number in range(2):
        for _ in range(3):
            sweeping.tick(after_s=1)
        trial = trials(sweeping, sweep_id)[number]
        reach(sweeping, trial, 10, value)
        assert sweeping.status(job_of(trial)) is JobStatus.RUNNING  # the evaluation may not have ended
        measure(sweeping, job_of(trial), {11: 1.5}, name="loss")
        sweeping.tick(after_s=1)
        assert sweeping.status(job_of(trial)) is JobStatus.CANCELLING
        sweeping.end_attempt(job_of(trial), ReasonCode.USER_CANCELLED)
    sweeping.tick(after_s=1)
    why = f"Its job has no finite value of {metric!r} at step 10, where trials are compared, and was cancelled."
    assert [(each.state, each.message) for each in trials(sweeping, sweep_id)] == [(TrialState.FAILED, why)] * 2
    assert sweep(sweeping, sweep_id).message == f"2 trials failed in a row; the last one: {why}"


def test_a_completed_trial_keeps_the_places_of_its_rungs(sweeping: World):
    """It had no finite value at the first rung, and was over before anybody looked."""
    sweep_id = start(sweeping, HALVING, max_trials=1)
    sweeping.tick()
    job_id = job_of(trials(sweeping, sweep_id)[0])
    measure(sweeping, job_id, {30: 1.0})
    ends(sweeping, job_id, value=0.5, step=90)
    [trial] = trials(sweeping, sweep_id)
    assert (trial.state, trial.value, trial.rung_values) == (TrialState.COMPLETED, 0.5, ())


def test_equal_trials_are_promoted_in_their_order(sweeping: World):
    sweep_id = start(sweeping, HALVING, max_trials=6, max_parallel=1)
    done = halve_to_end(sweeping, sweep_id, [[1.0, 1.0, 1.0]] * 6)
    assert [trial.rung for trial in done if trial.state is TrialState.COMPLETED] == [2]
    assert [trial.number for trial in done if len(trial.rung_values) == 2] == [0, 1]  # two of six pass
    assert sweep(sweeping, sweep_id).message.endswith("the best is trial 0 with eval_loss 1.")


def test_failures_between_good_trials_are_not_in_a_row(sweeping: World):
    sweep_id = start(sweeping, HALVING, max_trials=5, max_parallel=1, max_failures=2)
    for number in range(4):
        sweeping.tick(after_s=1)
        sweeping.tick(after_s=1)
        trial = trials(sweeping, sweep_id)[number]
        if number % 2:
            ends(sweeping, job_of(trial), ReasonCode.DEVICE_OOM)
        else:
            reach(sweeping, trial, 10, 2.0 + number)
    assert [trial.state for trial in trials(sweeping, sweep_id)][:4] == ["pruned", "failed"] * 2
    assert sweep(sweeping, sweep_id).status is SweepStatus.RUNNING


def test_a_sweep_of_failed_trials_failed(sweeping: World):
    sweep_id = start(sweeping, max_trials=2, max_parallel=9, max_failures=9)
    for _ in range(4):
        sweeping.tick(after_s=1)
    assert len(trials(sweeping, sweep_id)) == 2  # and not nine
    for trial in trials(sweeping, sweep_id):
        ends(sweeping, job_of(trial), ReasonCode.DEVICE_OOM)
    assert sweep(sweeping, sweep_id).status is SweepStatus.FAILED
    assert sweep(sweeping, sweep_id).message == "All trials have ended, and none of them completed."


def test_a_cancelled_trial_is_replaced_by_none(sweeping: World):
    sweep_id = start(sweeping, max_trials=2, max_parallel=1)
    sweeping.tick()
    first = job_of(trials(sweeping, sweep_id)[0])
    sweeping.cancel(first)
    sweeping.end_attempt(first, ReasonCode.USER_CANCELLED)
    done = run_to_end(sweeping, sweep_id)
    assert [trial.state for trial in done] == [TrialState.CANCELLED, TrialState.COMPLETED]
    assert sweep(sweeping, sweep_id).message == "All 2 trials have ended; the best is trial 1 with eval_loss 1.5."


def test_a_job_that_was_deleted_before_the_sweep_looked(sweeping: World):
    sweep_id = start(sweeping, max_trials=2, max_parallel=1)
    sweeping.tick()
    first = job_of(trials(sweeping, sweep_id)[0])
    with sweeping.store.begin() as tx:
        tx.jobs.move(tx.jobs.get(first).ref, JobStatus.CANCELLING, now=sweeping.now)
    sweeping.end_attempt(first, ReasonCode.USER_CANCELLED)
    with sweeping.store.begin() as tx:
        job = tx.jobs.get(first)
        tx.jobs.move(job.ref, JobStatus.CANCELLED, now=sweeping.now)
        tx.attempts.count(job.ref, now=sweeping.now)
        tx.attempts.released(job.ref)
        tx.jobs.set_mlflow(first, cursor=MlflowCursor(seq=tx.jobs.get(first).last_seq))
        tx.deletions.delete_job(first, now=sweeping.now)
    sweeping.tick(after_s=1)
    gone = trials(sweeping, sweep_id)[0]
    assert (gone.state, gone.message) == (TrialState.FAILED, "Its job was deleted before its result was recorded.")
    assert [trial.state for trial in run_to_end(sweeping, sweep_id)][1:] == [TrialState.COMPLETED]


def test_the_priority_of_one_trial_is_its_own(sweeping: World):
    sweep_id = start(sweeping, job=JOB | {"priority": 70}, max_parallel=2)
    sweeping.tick()
    first = job_of(trials(sweeping, sweep_id)[0])
    with sweeping.store.begin() as tx:
        tx.jobs.set_priority(first, 5)
    sweeping.tick(after_s=1)
    assert [sweeping.job(job_of(trial)).priority for trial in trials(sweeping, sweep_id)] == [5, 70]


def test_a_config_of_another_version_ends_its_sweep_and_not_the_queue(sweeping: World):
    sweep_id = start(sweeping, max_parallel=1)
    sweeping.tick()
    with sweeping.store.begin() as tx:
        changed = sweep(sweeping, sweep_id).config | {"method": {"type": "of tomorrow"}}
        tx.sweeps._connection.execute(sweeps.update().values(config=changed))
    other = sweeping.submit(resources={"cpus_per_worker": 1})
    sweeping.tick(after_s=1)
    assert sweep(sweeping, sweep_id).status is SweepStatus.FAILED
    assert f"The config of sweep {sweep_id}" in sweep(sweeping, sweep_id).message
    assert sweeping.status(other) is JobStatus.PENDING
    sweeping.tick(after_s=1)
    [trial] = trials(sweeping, sweep_id)
    assert (trial.state, sweeping.status(job_of(trial))) == (TrialState.CANCELLED, JobStatus.PENDING)
    assert sweep(sweeping, sweep_id).is_settled

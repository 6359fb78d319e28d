"""Sweeps in the coordinator's tick: trials are jobs, and a restart at any moment changes nothing."""

import time
from datetime import timedelta
from typing import Any

import pytest

from cluster.coordinator import sweep_suggestions, sweeps
from cluster.coordinator.coordinator import IDLE_AFTER_S
from cluster.coordinator.sweep_suggestions import Suggestions
from cluster.coordinator.tick_timer import INTERVAL_S
from cluster.fakes import AtOnce
from ftlab.schemas.adjustments import AdjustedBy, Adjustment, Change
from ftlab.schemas.sweeps import SweepStatus, TrialState
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.sweep_world import (
    HALVING,
    JOB,
    change,
    ends,
    job_of,
    reach,
    restart,
    run_to_end,
    start,
    sweep,
    trials,
)
from tests.unit.cluster.coordinator.world import World, make_dataset
from tracking.store.records import MlflowCursor


def test_trials_are_jobs_and_the_best_one_is_kept(sweeping: World):
    sweep_id = start(sweeping)
    sweeping.tick()
    [first] = trials(sweeping, sweep_id)
    job = sweeping.job(job_of(first))
    assert (job.sweep_id, job.name, job.owner) == (sweep_id, "rates 0", "local")
    assert job.training_config is not None
    assert job.training_config.training.learning_rate == first.parameters["training.learning_rate"]
    assert job.training_config.lora.r == first.parameters["lora.r"]
    sweeping.tick(after_s=1)
    sweeping.tick(after_s=1)
    assert len(trials(sweeping, sweep_id)) == 2  # max_parallel
    done = run_to_end(sweeping, sweep_id)
    assert [(trial.state, trial.value) for trial in done] == [(TrialState.COMPLETED, 2.0 - 0.5 * n) for n in range(3)]
    assert sweep(sweeping, sweep_id).status is SweepStatus.COMPLETED
    assert sweep(sweeping, sweep_id).message == "All 3 trials have ended; the best is trial 2 with eval_loss 1."
    with sweeping.store.read() as tx:
        assert len(tx.jobs.list(owner="local", sweep_id=sweep_id)) == 3
        assert tx.jobs.list(owner="local", sweep_id="sweep-other") == []


@pytest.mark.parametrize("method", ["random", {"type": "tpe", "num_random": 1}])
def test_a_restart_after_every_step_changes_no_suggestion(sweeping: World, method: Any):
    steady, restarted = (start(sweeping, method, max_trials=4, max_parallel=1) for _ in range(2))
    change(sweeping, restarted, SweepStatus.PAUSED)
    expected = [repr(trial.parameters) for trial in run_to_end(sweeping, steady)]
    change(sweeping, restarted, SweepStatus.RUNNING)
    found = [repr(trial.parameters) for trial in run_to_end(sweeping, restarted, restarting=True)]
    assert found == expected
    assert len(set(found)) == 4


def test_a_suggestion_for_other_trials_is_thrown_away(sweeping: World):
    """It may have been asked for before a result came in."""
    sweep_id = start(sweeping, {"type": "tpe", "num_random": 1}, max_trials=3)
    sweeping.tick()
    sweeping.tick(after_s=1)
    first, second = trials(sweeping, sweep_id)
    record = sweep(sweeping, sweep_id)
    suggestions = Suggestions(AtOnce())
    before = suggestions.take(record, record.parsed, [first, second])
    ends(sweeping, job_of(first), value=1.0)
    assert trials(sweeping, sweep_id)[2].parameters != before


def test_a_fault_in_one_sweep_holds_up_nothing_else(
    sweeping: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    broken, other = start(sweeping), start(sweeping)
    record_results = sweeps.record_results

    def fail(tick: Any, view: Any) -> Any:
        if view.sweep.id == broken:
            raise OverflowError("cannot convert float infinity to integer")
        return record_results(tick, view)

    monkeypatch.setattr(sweeps, "record_results", fail)
    job_id = sweeping.submit(resources={"cpus_per_worker": 1})
    sweeping.tick()
    assert sweeping.status(job_id) is JobStatus.PENDING
    assert len(trials(sweeping, other)) == 1
    assert f"Sweep {broken} could not be advanced" in caplog.text


def test_a_failed_trial_is_shown_and_several_in_a_row_end_the_sweep(sweeping: World):
    sweep_id = start(sweeping, max_trials=9, max_parallel=1, max_failures=2)
    sweeping.tick()
    ends(sweeping, job_of(trials(sweeping, sweep_id)[0]), ReasonCode.DEVICE_OOM)
    [failed, _] = trials(sweeping, sweep_id)
    assert (failed.state, failed.reason) == (TrialState.FAILED, ReasonCode.DEVICE_OOM)
    assert failed.message == "It is over."
    sweeping.tick(after_s=1)
    ends(sweeping, job_of(trials(sweeping, sweep_id)[1]), ReasonCode.DEVICE_OOM)
    sweeping.tick(after_s=1)
    assert sweep(sweeping, sweep_id).status is SweepStatus.FAILED
    assert sweep(sweeping, sweep_id).message == "2 trials failed in a row; the last one: It is over."
    assert sweep(sweeping, sweep_id).is_settled
    assert len(trials(sweeping, sweep_id)) == 2


def test_values_that_make_no_config_are_a_failed_trial_without_a_job(sweeping: World):
    parameters = {"training.lr_scheduler_type": ["cosine", "polynomial"], "training.learning_rate": [1e-8, 1e-4]}
    sweep_id = start(sweeping, "grid", parameters=parameters, max_trials=4, max_parallel=1)
    for _ in range(8):
        sweeping.tick(after_s=1)
        for trial in trials(sweeping, sweep_id):
            if trial.job_id and sweeping.status(trial.job_id) is JobStatus.PENDING:
                ends(sweeping, trial.job_id, value=1.0)
    done = trials(sweeping, sweep_id)
    [refused] = [trial for trial in done if trial.job_id is None]
    assert refused.parameters == {"training.lr_scheduler_type": "polynomial", "training.learning_rate": 1e-8}
    assert "training.learning_rate (1e-08) must be above 1e-07" in (refused.message or "")
    assert len(done) == 4


def test_a_trial_without_the_metric_failed(sweeping: World):
    sweep_id = start(sweeping, objective={"metric": "eval_lss"}, max_failures=1)
    sweeping.tick()
    ends(sweeping, job_of(trials(sweeping, sweep_id)[0]), value=1.0)
    assert "without a value of 'eval_lss' after step 0; its metrics: eval_loss" in sweep(sweeping, sweep_id).message


def test_pause_and_resume_hold_the_jobs(sweeping: World):
    sweep_id = start(sweeping)
    sweeping.tick()
    sweeping.tick(after_s=1)
    first, second = (job_of(trial) for trial in trials(sweeping, sweep_id))
    sweeping.trains(first)
    sweeping.pause(second)  # by its owner
    sweeping.tick(after_s=1)
    ended_at = sweeping.now + timedelta(seconds=2)
    change(sweeping, sweep_id, SweepStatus.PAUSED)
    sweeping.tick(after_s=1)
    assert sweeping.status(first) is JobStatus.PAUSING
    sweeping.stops(first, ReasonCode.OK, saved_step=3)
    assert sweeping.status(first) is JobStatus.PAUSED
    assert sweeping.now <= ended_at
    second_status = sweeping.status(second)
    change(sweeping, sweep_id, SweepStatus.RUNNING)
    sweeping.tick(after_s=1)
    assert sweeping.status(first) in (JobStatus.QUEUED, JobStatus.PENDING)
    assert sweeping.status(second) is second_status  # a job that its owner paused stays so
    assert len(trials(sweeping, sweep_id)) == 2


def test_a_cancelled_sweep_cancels_its_jobs(sweeping: World):
    sweep_id = start(sweeping)
    sweeping.tick()
    sweeping.tick(after_s=1)
    first, second = (job_of(trial) for trial in trials(sweeping, sweep_id))
    sweeping.trains(first)
    change(sweeping, sweep_id, SweepStatus.CANCELLED)
    sweeping.tick(after_s=1)
    for job_id in (first, second):
        assert sweeping.status(job_id) is JobStatus.CANCELLING
        sweeping.end_attempt(job_id, ReasonCode.USER_CANCELLED)
    for _ in range(3):
        sweeping.tick(after_s=1)
    assert [trial.state for trial in trials(sweeping, sweep_id)] == [TrialState.CANCELLED] * 2
    assert sweep(sweeping, sweep_id).is_settled


def test_the_time_of_the_trials_is_a_budget(sweeping: World):
    sweep_id = start(sweeping, max_time_s=60, max_parallel=1)
    sweeping.tick()
    [first] = trials(sweeping, sweep_id)
    sweeping.trains(job_of(first))
    sweeping.now += timedelta(seconds=61)
    sweeping.beat(job_of(first))
    sweeping.tick()
    assert sweep(sweeping, sweep_id).status is SweepStatus.COMPLETED
    assert sweep(sweeping, sweep_id).message.startswith("max_time_s (60) is used up after 61 s; no trial")
    sweeping.tick(after_s=1)
    assert sweeping.status(job_of(first)) is JobStatus.CANCELLING


def test_money_is_a_budget(priced: World):
    restart(priced)
    with priced.store.begin() as tx:
        tx.datasets.add(make_dataset())
    sweep_id = start(priced, max_cost="0.05", max_parallel=1)
    priced.tick()
    [first] = trials(priced, sweep_id)
    priced.trains(job_of(first))
    priced.now += timedelta(seconds=51)  # a tenth of a cent a second
    priced.beat(job_of(first))
    priced.tick()
    message = sweep(priced, sweep_id).message
    assert message.startswith("max_cost (0.05 EUR) is used up: the trials cost 0.05")


def test_the_limit_of_queued_jobs_holds_for_trials(sweeping: World):
    with sweeping.store.begin() as tx:
        tx.quotas.set("local", max_queued_jobs=1)
    sweeping.cluster.given = type(sweeping.cluster)(cpus=1).given
    sweeping.submit(resources={"cpus_per_worker": 1})
    sweep_id = start(sweeping)
    sweeping.tick()
    assert trials(sweeping, sweep_id) == []
    assert "You have 1 jobs in the queue" in sweep(sweeping, sweep_id).message
    sweeping.tick(after_s=1)  # the other job has started
    assert len(trials(sweeping, sweep_id)) == 1
    assert sweep(sweeping, sweep_id).message == "The sweep is searching."


def test_a_deleted_dataset_ends_the_sweep(sweeping: World):
    sweep_id = start(sweeping, job=JOB | {"dataset": "ds-gone"})
    sweeping.tick()
    assert sweep(sweeping, sweep_id).status is SweepStatus.FAILED
    assert "No more trials can be made" in sweep(sweeping, sweep_id).message


def test_a_suggestion_is_computed_beside_the_tick(world: World):
    with world.store.begin() as tx:
        tx.datasets.add(make_dataset())
    sweep_id = start(world)
    deadline = time.monotonic() + 60
    while not trials(world, sweep_id):
        assert time.monotonic() < deadline, "no suggestion came from the thread"
        world.tick()
        time.sleep(0.01)
    assert [trial.number for trial in trials(world, sweep_id)] == [0]


def test_ticks_are_frequent_while_a_sweep_searches(sweeping: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Suggestions, "take", lambda *_: None)
    start(sweeping)
    sweeping.tick(after_s=IDLE_AFTER_S + 1)
    assert sweeping.coordinator.interval_s == INTERVAL_S


def test_a_search_that_breaks_ends_its_sweep_and_not_the_queue(sweeping: World, monkeypatch: pytest.MonkeyPatch):
    def break_down(*_: object) -> None:
        raise RuntimeError("no numbers left")

    monkeypatch.setattr(sweep_suggestions, "next_values", break_down)
    other = sweeping.submit(resources={"cpus_per_worker": 1})
    sweep_id = start(sweeping)
    sweeping.tick()
    assert sweep(sweeping, sweep_id).status is SweepStatus.FAILED
    assert "could not be chosen (RuntimeError)" in sweep(sweeping, sweep_id).message
    assert sweeping.status(other) is JobStatus.PENDING


def test_a_deleted_job_leaves_its_result(sweeping: World):
    sweep_id = start(sweeping, max_parallel=1)
    sweeping.tick()
    [first] = trials(sweeping, sweep_id)
    ends(sweeping, job_of(first), value=1.5)
    sweeping.tick(after_s=10)
    with sweeping.store.begin() as tx:
        tx.jobs.set_mlflow(job_of(first), cursor=MlflowCursor(seq=tx.jobs.get(job_of(first)).last_seq))
        tx.deletions.delete_job(job_of(first), now=sweeping.now)
    sweeping.tick(after_s=1)
    kept = trials(sweeping, sweep_id)[0]
    assert (kept.state, kept.value) == (TrialState.COMPLETED, 1.5)
    assert sweep(sweeping, sweep_id).status is SweepStatus.RUNNING


# Successive halving.


def test_halving_pauses_the_others_and_promotes_the_best(sweeping: World):
    sweep_id = start(sweeping, HALVING, max_trials=3, max_parallel=1)
    for number, value in enumerate((2.0, 1.0, 3.0)):
        sweeping.tick(after_s=1)
        sweeping.tick(after_s=1)
        reach(sweeping, trials(sweeping, sweep_id)[number], 10, value)
        restart(sweeping)
    sweeping.tick(after_s=1)
    first, best, last = trials(sweeping, sweep_id)
    assert (first.state, last.state) == (TrialState.PRUNED, TrialState.PRUNED)
    assert first.message == "Paused at the rung of step 10 with eval_loss 2; the best of every 3 trials continues."
    assert sweeping.status(job_of(first)) is JobStatus.PAUSED
    assert (best.state, best.rung, best.rung_values) == (TrialState.RUNNING, 1, (1.0,))
    assert sweeping.status(job_of(best)) is JobStatus.PENDING
    assert sweeping.attempt(job_of(best)).resumed_from_step == 10  # from the checkpoint of its pause
    promoted = sweeping.job(job_of(best)).training_config
    assert promoted is not None
    assert promoted.training.max_steps == 90  # the schedule of all steps: as if it had never stopped
    assert sweeping.told(job_of(best))[-3:] == ["paused", "queued", "pending"]
    # The last one that is left goes to the end, although one of one is less than one of three.
    reach(sweeping, best, 30, 0.9)
    sweeping.tick(after_s=1)
    sweeping.tick(after_s=1)
    assert trials(sweeping, sweep_id)[1].rung == 2
    ends(sweeping, job_of(best), value=0.8)
    for _ in range(3):
        sweeping.tick(after_s=1)
    done = sweep(sweeping, sweep_id)
    assert (done.status, done.is_settled) == (SweepStatus.COMPLETED, True)
    assert done.message == "All 3 trials have ended; the best is trial 1 with eval_loss 0.8."
    assert [trial.state for trial in trials(sweeping, sweep_id)] == ["pruned", "completed", "pruned"]
    assert sweeping.status(job_of(first)) is JobStatus.CANCELLED  # it can still be resumed from its checkpoint


def test_a_trial_that_is_good_enough_passes_without_a_pause(sweeping: World):
    sweep_id = start(sweeping, HALVING, max_trials=9, max_parallel=1)
    for number, value in enumerate((2.0, 3.0, 1.0)):
        sweeping.tick(after_s=1)
        sweeping.tick(after_s=1)
        reach(sweeping, trials(sweeping, sweep_id)[number], 10, value)
    third = trials(sweeping, sweep_id)[2]
    assert (third.state, third.rung) == (TrialState.RUNNING, 1)
    assert "pausing" not in sweeping.told(job_of(third))


def test_a_rung_without_its_value_is_not_judged(sweeping: World):
    """The evaluation at the step of the rung may still be running."""
    sweep_id = start(sweeping, HALVING, max_parallel=1)
    sweeping.tick()
    [first] = trials(sweeping, sweep_id)
    sweeping.trains(job_of(first))
    sweeping.steps(job_of(first), 10)
    sweeping.tick(after_s=1)
    assert trials(sweeping, sweep_id)[0].rung_values == ()
    assert sweeping.status(job_of(first)) is JobStatus.RUNNING


@pytest.mark.parametrize(
    ("field", "value", "state"),
    [("max_length", 512, TrialState.FAILED), ("gradient_checkpointing", True, TrialState.COMPLETED)],
)
def test_a_trial_that_recovered_with_shorter_rows_is_not_compared(
    sweeping: World, field: str, value: Any, state: TrialState
):
    """Its eval loss is lower because its rows are, and the search would take it for the best."""
    sweep_id = start(sweeping, max_trials=2, max_parallel=1)
    sweeping.tick()
    job_id = job_of(trials(sweeping, sweep_id)[0])
    sweeping.trains(job_id)
    sweeping.end_attempt(job_id, ReasonCode.NODE_LOST)
    job = sweeping.job(job_id)
    config = job.training_config
    assert config is not None
    group = "method" if field in type(config.method).model_fields else "training"
    parts = {group: getattr(config, group).model_copy(update={field: value})}
    change = Change(field=f"{group}.{field}", from_=None, to=value)
    adjustment = Adjustment(at=sweeping.now, by=AdjustedBy.AUTOMATIC, attempt=1, changes=[change])
    with sweeping.store.begin() as tx:
        tx.adjustments.apply(job, config.model_copy(update=parts), adjustment)
    sweeping.tick(after_s=1)
    ends(sweeping, job_id, value=0.1)
    trial = trials(sweeping, sweep_id)[0]
    assert trial.state is state, trial.message
    if state is TrialState.FAILED:
        assert trial.value is None
        assert "cannot be compared with that of the other trials" in (trial.message or "")

"""The run driver's bookkeeping, without Ray: who is there, what is written, how a run ended."""

import sys
import threading
import types
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from cluster.machine.memory_kills import MemoryKills
from cluster.policy import WorkerShape, node_labels
from cluster.runs import driver as driver_module
from cluster.runs.driver import KILLS_WINDOW_LOOKS
from ftlab.status import JobStatus, ReasonCode
from tests.support.clocks import wait_for
from tests.unit.cluster.coordinator.world import locked
from tests.unit.cluster.runs.driver_runs import FINISHED, ONE_WORKER, TWO_WORKERS, Runs, close_log, worker
from train.plan import Ending, Failure, Outcome, StopKind, TrainingPlan


def test_a_run_initialises_when_all_its_workers_are_there(runs: Runs):
    driver = runs.launch(TWO_WORKERS)
    assert driver.state() == "taken"
    driver.hello(worker(1, 12, "aa"))
    assert runs.job().status is JobStatus.PENDING
    driver.hello(worker(0, 11, "aa"))
    close_log(driver)
    assert runs.job().status is JobStatus.INITIALIZING
    assert (runs.attempt().pids, runs.attempt().placement_groups) == ((11, 12), ("aa",))


def test_a_standby_run_waits_for_its_plan(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    driver = runs.standby(monkeypatch)
    assert driver.state() == "starting"
    driver.hello(worker(0, 11, "aa"))
    assert driver.state() == "ready"
    assert driver.wait_for_plan() == (False, None)
    assert not driver.request_stop(StopKind.CANCEL)
    assert driver.assign(runs.plan, ONE_WORKER)
    assert driver.state() == "taken"
    told, plan = driver.wait_for_plan()
    assert told
    assert plan == runs.plan
    close_log(driver)
    assert runs.job().status is JobStatus.INITIALIZING
    assert runs.attempt().pids == (11,)


def test_a_standby_run_that_is_assigned_before_its_worker_is_up(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    driver = runs.standby(monkeypatch)
    assert driver.assign(runs.plan, ONE_WORKER)
    driver.hello(worker(0, 11, None))
    assert driver.wait_for_plan()[0]
    close_log(driver)
    assert (runs.job().status, runs.attempt().pids) == (JobStatus.INITIALIZING, (11,))


def test_a_worker_that_asks_for_its_plan_twice_is_no_trouble(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    driver = runs.standby(monkeypatch)
    driver.assign(runs.plan, ONE_WORKER)
    driver.wait_for_plan()
    driver.wait_for_plan()
    close_log(driver)
    assert driver.record([]) is None
    assert runs.job().status is JobStatus.INITIALIZING


def test_a_standby_run_takes_one_attempt_and_says_so_again(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    driver = runs.standby(monkeypatch)
    assert driver.assign(runs.plan, ONE_WORKER)
    assert driver.assign(runs.plan, ONE_WORKER)
    other = TrainingPlan(**{**runs.plan.__dict__, "job_id": "job-other"})
    assert not driver.assign(other, ONE_WORKER)


def test_a_standby_run_that_ended_takes_none(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    driver = runs.standby(monkeypatch)
    driver._close(None)
    assert driver.state() == "ended"
    assert not driver.assign(runs.plan, ONE_WORKER)


def test_a_standby_run_that_ends_while_it_reserves_takes_none(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    """Its log would write heartbeats for ever, and no run would be there."""
    driver = runs.standby(monkeypatch)
    reservation = object()
    removed: list[object] = []
    monkeypatch.setattr(ray.util, "remove_placement_group", removed.append)

    def end(shape: WorkerShape, label: str) -> None:
        driver._close(None)
        driver._reservation = reservation  # type: ignore[assignment]

    monkeypatch.setattr(driver, "_reserve", end)
    assert not driver.assign(runs.plan, ONE_WORKER)
    assert (driver.state(), driver._log, removed) == ("ended", None, [reservation])


def test_delivery_does_not_wait_for_the_database(runs: Runs, database: Path):
    driver = runs.launch()
    driver.hello(worker(0, 11, None))
    with locked(database):
        finishing = threading.Thread(target=driver.finish, args=(FINISHED,))
        finishing.start()
        finishing.join(30)
        assert not finishing.is_alive()
    driver._close(None)
    job = runs.job()
    assert (job.status, job.reason) == (JobStatus.COMPLETED, ReasonCode.OK)
    with runs.store.read() as tx:
        model = tx.models.get(job.model_id or "")
    assert (model.job_id, model.kind, model.step, model.path) == (job.id, "adapter", 6, runs.home / "job" / "model")
    assert (model.base_model, model.base_revision) == ("org/name", "local-1")


def test_the_message_of_a_job_that_ended_early_says_why(runs: Runs):
    driver = runs.launch()
    driver.hello(worker(0, 11, None))
    driver.finish(replace(FINISHED, ended_early="Stopped early at step 8 of 20."))
    driver._close(None)
    job = runs.job()
    assert (job.status, job.reason, job.message) == (
        JobStatus.COMPLETED,
        ReasonCode.OK,
        "Stopped early at step 8 of 20.",
    )


def test_a_crash_after_the_delivery_changes_nothing(runs: Runs):
    driver = runs.launch()
    driver.hello(worker(0, 11, None))
    driver.finish(FINISHED)
    driver._close(RuntimeError("the worker was killed while it left"))
    assert runs.job().status is JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("crash", "reason"),
    [
        (None, ReasonCode.WORKER_CRASHED),
        (RuntimeError("Worker exited: SYSTEM_ERROR"), ReasonCode.WORKER_CRASHED),
        (RuntimeError("ray.exceptions.OutOfMemoryError: killed"), ReasonCode.HOST_OOM),
        (ray.exceptions.OutOfMemoryError("killed"), ReasonCode.HOST_OOM),
        (RuntimeError("1 worker(s) were killed due to the node running low on memory."), ReasonCode.HOST_OOM),
        (RuntimeError("NodeDiedError: the node is gone"), ReasonCode.NODE_LOST),
        (type("PreemptionError", (Exception,), {})("The deadline is over"), ReasonCode.NODE_LOST),
    ],
    ids=str,
)
def test_a_run_that_ends_without_a_word_gets_its_reason_from_ray(
    runs: Runs, crash: BaseException | None, reason: ReasonCode
):
    driver = runs.launch()
    driver._close(crash)
    assert runs.attempt().reason is reason
    assert driver.state() == "ended"
    assert driver._coordinator.num_wakes == 2, "when the database knows, and when the processes are gone"


def test_the_cause_that_a_worker_tells_counts(runs: Runs):
    driver = runs.launch()
    driver.fail(0, Failure(ReasonCode.LOSS_DIVERGED, "The loss became nan."))
    driver._close(RuntimeError("Worker 0 failed"))
    assert (runs.attempt().reason, runs.attempt().message) == (ReasonCode.LOSS_DIVERGED, "The loss became nan.")


@pytest.mark.parametrize("is_first", [True, False])
def test_a_lost_peer_is_never_the_cause(runs: Runs, is_first: bool):
    driver = runs.launch(TWO_WORKERS)
    told = [Failure(ReasonCode.COLLECTIVE_ERROR, "Lost."), Failure(ReasonCode.DEVICE_OOM, "Full.")]
    for rank, failure in enumerate(told if is_first else reversed(told)):
        driver.fail(rank, failure)
    driver._close(None)
    assert runs.attempt().reason is ReasonCode.DEVICE_OOM


def test_a_run_that_stopped_ends_its_attempt_at_once(runs: Runs):
    """Leaving takes seconds, in which the coordinator might take it for one that does not heed the stop."""
    driver = runs.launch()
    driver.finish(Outcome(Ending.STOPPED, 7, StopKind.CANCEL, has_saved=True, saved_step=7))
    close_log(driver)
    assert (runs.attempt().reason, runs.attempt().message) == (
        ReasonCode.USER_CANCELLED,
        "Cancelled at step 7; its checkpoint of step 7 was saved.",
    )
    assert runs.job().status is JobStatus.PENDING, "what follows is the coordinator's decision"
    wait_for(lambda: driver._coordinator.num_wakes == 1)
    driver._close(RuntimeError("Ray ended the workers when the devices were given back"))
    assert runs.attempt().reason is ReasonCode.USER_CANCELLED


def test_a_standby_run_that_is_assigned_while_it_imports_still_asks_for_its_plan(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
):
    """Otherwise nobody says that the job initialises, and the writes of its run are refused."""
    given = []

    class Trainer:
        def fit(self) -> None:
            pass

    def make_trainer(name: str, **options: object) -> Trainer:
        given.append(options["plan"])
        return Trainer()

    launch = types.ModuleType("cluster.runs.trainer")
    launch.make_trainer = make_trainer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cluster.runs.trainer", launch)
    driver = runs.standby(monkeypatch)
    assert driver.assign(runs.plan, ONE_WORKER)

    driver._fit()

    assert given == [None]


def test_each_worker_is_bound_to_the_machine_that_was_chosen_for_it():
    assert node_labels(ONE_WORKER) is None
    assert node_labels(WorkerShape(2, 1, 0, nodes=("a", "b"))) == [{"ray.io/node-id": "a"}, {"ray.io/node-id": "b"}]


def test_only_a_kill_shortly_before_the_end_counts(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    """The kernel counts kills of all processes of the service: one that this run outlived was not its own."""
    counts = iter([MemoryKills(0, 0), *[MemoryKills(1, 1)] * (KILLS_WINDOW_LOOKS + 1), MemoryKills(1, 1)])
    monkeypatch.setattr(driver_module, "count_kills", lambda: next(counts))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: types.SimpleNamespace(get_node_id=lambda: "node-1"))
    driver = runs.launch()
    driver.hello(worker(0, 11, None))
    assert driver._kills[0] == MemoryKills(0, 0)
    for look in range(KILLS_WINDOW_LOOKS + 1):
        driver._look(float(look))
    driver._close(RuntimeError("The worker died."))
    assert runs.attempt().reason is ReasonCode.WORKER_CRASHED


def test_a_kill_at_the_end_is_a_lack_of_memory(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    counts = iter([MemoryKills(0, 0), MemoryKills(1, 1)])
    monkeypatch.setattr(driver_module, "count_kills", lambda: next(counts))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: types.SimpleNamespace(get_node_id=lambda: "node-1"))
    driver = runs.launch()
    driver.hello(worker(0, 11, None))
    driver._close(RuntimeError("The worker died."))
    attempt = runs.attempt()
    assert attempt.reason is ReasonCode.HOST_OOM
    assert "the kernel killed 1 process" in (attempt.failure or {})["notes"][0]

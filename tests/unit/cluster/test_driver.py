"""The run driver's bookkeeping, without Ray: who is there, what is written, how a run ended."""

import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from cluster import attempt_log
from cluster import driver as driver_module
from cluster.driver import RunDriver
from cluster.policy import WorkerShape
from cluster.testing import FakeHub
from ftlab.life import JobStatus, ReasonCode
from ftlab.schemas import JobConfig
from tests.unit.cluster.world import START, add_job, locked
from tracking.store import Store
from tracking.store.records import AttemptRecord, JobRecord, JobRef
from train.plan import Ending, Failure, Outcome, RunPlan, StopKind

CONFIG = JobConfig(model="org/name", dataset="ds-1")
ONE_WORKER, TWO_WORKERS = WorkerShape(1, 2, 0), WorkerShape(2, 1, 0)
FINISHED = Outcome(Ending.FINISHED, 8, delivered_step=6, base_model="org/name", base_revision="local-1")


class FakeCoordinator:
    def __init__(self) -> None:
        self.num_wakes = 0

    def wake(self) -> None:
        self.num_wakes += 1


class Runs:
    """A job with a live attempt, and drivers for it."""

    def __init__(self, store: Store, home: Path) -> None:
        self.store = store
        self.home = home
        self.drivers: list[RunDriver] = []
        self.job_id = add_job(store, CONFIG.model_dump(mode="json"))
        with store.begin() as tx:
            epoch = tx.leases.acquire("coordinator", "test", ttl_s=10, now=START).epoch
            tx.jobs.claim(self.job_id, driver="run-1", cpus=2, gpus=0, resumed_from_step=None, epoch=epoch, now=START)

    @property
    def plan(self) -> RunPlan:
        return RunPlan(
            job_id=self.job_id,
            attempt=1,
            config=CONFIG,
            job_folder=self.home / "job",
            models_folder=self.home / "models",
            model="org/name",
            pinned_revision=None,
            train_rows=self.home / "rows.jsonl",
            eval_rows=None,
            threads=1,
        )

    def launch(self, shape: WorkerShape = ONE_WORKER) -> RunDriver:
        self.drivers.append(RunDriver("run-1", shape, self.plan))
        return self.drivers[-1]

    def standby(self, monkeypatch: pytest.MonkeyPatch) -> RunDriver:
        self.drivers.append(RunDriver("standby-1", None, None))
        monkeypatch.setattr(self.drivers[-1], "_reserve", lambda shape: None)
        return self.drivers[-1]

    def job(self) -> JobRecord:
        with self.store.read() as tx:
            return tx.jobs.get(self.job_id)

    def attempt(self) -> AttemptRecord:
        with self.store.read() as tx:
            return tx.attempts.get(JobRef(self.job_id, 1))


@pytest.fixture
def runs(store: Store, database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    monkeypatch.setenv("FTLAB_HOME", str(database.parent))
    monkeypatch.chdir(database.parent)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(database.parent))
    monkeypatch.setattr(driver_module, "RayHubClient", lambda namespace: FakeHub())
    monkeypatch.setattr(driver_module, "RayCoordinatorClient", FakeCoordinator)
    monkeypatch.setattr(driver_module, "PLAN_POLL_S", 0.01)
    monkeypatch.setattr(attempt_log, "HEARTBEAT_INTERVAL_S", 0.02)
    monkeypatch.setattr(attempt_log, "LONGEST_BACKOFF_S", 0.05)
    runs = Runs(store, database.parent)
    yield runs
    for driver in runs.drivers:
        if driver._log is not None:
            driver._log.close()
        driver._store.close()


def close_log(driver: RunDriver) -> None:
    assert driver._log is not None
    driver._log.close()


def test_a_run_initialises_when_all_its_workers_are_there(runs: Runs):
    driver = runs.launch(TWO_WORKERS)
    assert driver.state() == "taken"
    driver.hello(1, 12, "aa")
    assert runs.job().status is JobStatus.PENDING
    driver.hello(0, 11, "aa")
    close_log(driver)
    assert runs.job().status is JobStatus.INITIALIZING
    assert (runs.attempt().pids, runs.attempt().placement_groups) == ((11, 12), ("aa",))


def test_a_standby_run_waits_for_its_plan(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    driver = runs.standby(monkeypatch)
    assert driver.state() == "starting"
    driver.hello(0, 11, "aa")
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
    driver.hello(0, 11, None)
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
    other = RunPlan(**{**runs.plan.__dict__, "job_id": "job-other"})
    assert not driver.assign(other, ONE_WORKER)


def test_a_standby_run_that_ended_takes_none(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    driver = runs.standby(monkeypatch)
    driver._close(None)
    assert driver.state() == "ended"
    assert not driver.assign(runs.plan, ONE_WORKER)


def test_delivery_does_not_wait_for_the_database(runs: Runs, database: Path):
    driver = runs.launch()
    driver.hello(0, 11, None)
    with locked(database):
        finishing = threading.Thread(target=driver.finish, args=(FINISHED,))
        finishing.start()
        finishing.join(2)
        assert not finishing.is_alive()
    driver._close(None)
    job = runs.job()
    assert (job.status, job.reason) == (JobStatus.COMPLETED, ReasonCode.OK)
    with runs.store.read() as tx:
        model = tx.models.get(job.model_id or "")
    assert (model.job_id, model.kind, model.step, model.path) == (job.id, "adapter", 6, runs.home / "job" / "model")
    assert (model.base_model, model.base_revision) == ("org/name", "local-1")


def test_a_crash_after_the_delivery_changes_nothing(runs: Runs):
    driver = runs.launch()
    driver.hello(0, 11, None)
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
        (RuntimeError("NodeDiedError: the node is gone"), ReasonCode.NODE_LOST),
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
    assert driver._coordinator.num_wakes == 1


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


def test_a_run_that_stopped_for_its_user_was_cancelled(runs: Runs):
    driver = runs.launch()
    driver.finish(Outcome(Ending.STOPPED, 7, StopKind.CANCEL))
    driver._close(None)
    assert (runs.attempt().reason, runs.attempt().message) == (
        ReasonCode.USER_CANCELLED,
        "Stopped at step 7; a checkpoint was saved.",
    )
    assert runs.job().status is JobStatus.PENDING, "what follows is the coordinator's decision"


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

    launch = types.ModuleType("cluster.launch")
    launch.make_trainer = make_trainer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cluster.launch", launch)
    driver = runs.standby(monkeypatch)
    assert driver.assign(runs.plan, ONE_WORKER)

    driver._fit()

    assert given == [None]

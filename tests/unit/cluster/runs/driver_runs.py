"""A job with a live attempt, and run drivers for it, without Ray."""

from pathlib import Path

import pytest

from cluster.policy import WorkerShape
from cluster.runs.driver import RunDriver
from cluster.runs.worker_process import WorkerProcess
from ftlab.schemas import JobConfig
from tests.unit.cluster.coordinator.world import START, add_job
from tracking.store import Store
from tracking.store.records import AttemptRecord, JobRecord, JobRef
from train.plan import DataFile, Ending, Outcome, TrainingPlan

CONFIG = JobConfig(model="org/name", dataset="ds-1")
ONE_WORKER, TWO_WORKERS = WorkerShape(1, 2, 0), WorkerShape(2, 1, 0)
FINISHED = Outcome(Ending.FINISHED, 8, delivered_step=6, base_model="org/name", base_revision="local-1")


class FakeCoordinator:
    def __init__(self) -> None:
        self.num_wakes = 0

    def hurry(self) -> None:
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
            tx.jobs.claim(self.job_id, driver="run-1", cpus=2, gpus=0, epoch=epoch, now=START)

    @property
    def plan(self) -> TrainingPlan:
        return TrainingPlan(
            job_id=self.job_id,
            attempt=1,
            config=CONFIG,
            job_folder=self.home / "job",
            models_folder=self.home / "models",
            model="org/name",
            pinned_revision=None,
            train_files=(DataFile("ds-1", self.home / "rows.jsonl"),),
            eval_rows=None,
            cache_folder=self.home / "cache",
            threads=1,
        )

    def launch(self, shape: WorkerShape = ONE_WORKER) -> RunDriver:
        self.drivers.append(RunDriver("run-1", shape, self.plan))
        return self.drivers[-1]

    def standby(self, monkeypatch: pytest.MonkeyPatch) -> RunDriver:
        self.drivers.append(RunDriver("standby-1", None, None))
        monkeypatch.setattr(self.drivers[-1], "_reserve", lambda shape, label: None)
        return self.drivers[-1]

    def job(self) -> JobRecord:
        with self.store.read() as tx:
            return tx.jobs.get(self.job_id)

    def attempt(self) -> AttemptRecord:
        with self.store.read() as tx:
            return tx.attempts.get(JobRef(self.job_id, 1))


def worker(rank: int, pid: int, placement_group: str | None) -> WorkerProcess:
    return WorkerProcess(rank, pid, 1, "node-1", placement_group)


def close_log(driver: RunDriver) -> None:
    assert driver._log is not None
    driver._log.close()

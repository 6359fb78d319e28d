"""The coordinator with runs that do nothing: `python -m tests.bench.noop_runs HOME NUM_SLOTS NUM_JOBS`.

Everything but the training is real: it ticks as the service's coordinator does, and each run writes its record. It
says on which port it is woken, then, once so many jobs have ended, when that was (seconds since the epoch).
"""

import socket
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from cluster.coordinator.coordinator import Coordinator, run_forever
from cluster.coordinator.tick_timer import TickTimer
from cluster.fakes import FakeCluster, FakeEventHub
from cluster.policy import WorkerShape
from cluster.runs.attempt_log import AttemptLog
from ftlab.settings import Settings
from ftlab.status import JobStatus
from tests.bench.processes import say_back
from tracking.store import Store
from tracking.store.ids import new_id
from tracking.store.records import JobRecord, JobRef, ModelRecord
from train.plan import ModelLoaded, RunPlan, TrainingPlan
from train.reporting.event_sender import Emitted


class NoopCluster(FakeCluster):
    """Its runs are over as soon as their record is written."""

    def __init__(self, store: Store, timer: TickTimer, num_slots: int, num_jobs: int) -> None:
        super().__init__(cpus=num_slots)
        self._store = store
        self._timer = timer
        self._num_left = num_jobs
        self._counting = threading.Lock()

    def launch(self, name: str, shape: WorkerShape | None, plan: RunPlan | None) -> None:
        super().launch(name, shape, plan)
        assert isinstance(plan, TrainingPlan), "no standby runs here"
        log = AttemptLog(self._store, FakeEventHub(), JobRef(plan.job_id, plan.attempt), lambda: self._end(name))
        log.move(JobStatus.INITIALIZING)
        log.record([Emitted(1, datetime.now(UTC), ModelLoaded("none"))])
        log.complete(_model, num_files=len(plan.train_files))

    def _end(self, name: str) -> None:
        """Called by the run's log once the database has it all."""
        self.running[name].state = "ended"
        self._timer.hurry()
        with self._counting:
            self._num_left -= 1
            if self._num_left == 0:
                say_back(str(time.time()))


def main(home: Path, num_slots: int, num_jobs: int) -> None:
    settings = Settings(home=home, standby=False)
    store, timer = Store.open(settings.store_url), TickTimer()
    cluster = NoopCluster(store, timer, num_slots, num_jobs)
    coordinator = Coordinator(store, cluster, FakeEventHub(), settings)
    threading.Thread(target=run_forever, args=(coordinator, timer.pause), daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
        waker.bind(("127.0.0.1", 0))
        say_back(str(waker.getsockname()[1]))
        while True:
            waker.recv(16)
            timer.wake()


def _model(job: JobRecord) -> ModelRecord:
    return ModelRecord(
        id=new_id("mdl"),
        owner=job.owner,
        job_id=job.id,
        name=job.name,
        kind="adapter",
        base_model="org/name",
        base_revision="none",
        step=0,
        path=Path("model"),
        mlflow_version=None,
        created_at=datetime.now(UTC),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

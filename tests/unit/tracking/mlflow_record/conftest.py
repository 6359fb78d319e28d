"""A real MLflow server for the tests of the record, and jobs to be recorded."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from mlflow import entities as mlflow_entities

from ftlab.schemas import EventKind, JobConfig, LoraConfig, TrainingConfig
from ftlab.schemas.events import parse_payload
from ftlab.status import JobStatus, ReasonCode
from tests.support.committed_folders import commit_folder
from tests.support.databases import make_database
from tracking.mlflow_record.api import MlflowApi
from tracking.mlflow_record.recorder import Recorder
from tracking.mlflow_record.server import SERVER_ENVIRONMENT, server_command
from tracking.store import Store
from tracking.store.ids import new_id
from tracking.store.records import DatasetRecord, JobRef, ModelRecord, NewEvent

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SERVER_URL = "http://127.0.0.1:8000"
START_TIMEOUT_S = 120.0


class MlflowServer:
    """MLflow as the supervisor starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                server_command(self.folder, self.port),
                env=os.environ | SERVER_ENVIRONMENT,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def num_processes(self) -> int:
        assert self._process is not None
        return 1 + len(psutil.Process(self._process.pid).children(recursive=True))

    def pause(self) -> None:
        """Stop answering, as a machine under heavy load does; requests wait in their sockets."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="session")
def session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@dataclass
class Clock:
    """Time that moves only when a test advances it."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Jobs:
    """A store whose jobs a test moves along, and the folder with their files."""

    store: Store
    jobs_folder: Path
    clock: Clock = field(default_factory=Clock)

    def add_dataset(self, name: str = "hello", content: bytes = b"rows") -> DatasetRecord:
        sha256 = hashlib.sha256(content).hexdigest()
        record = DatasetRecord(
            id=new_id("ds"),
            owner="local",
            name=name,
            bucket="default",
            format="jsonl",
            shape="messages",
            num_rows=7,
            size_bytes=len(content),
            sha256=sha256,
            kind="messages",
            canonical=f"canonical/{sha256}-{'b' * 12}.arrow",
            created_at=self.clock(),
        )
        with self.store.begin() as tx:
            tx.datasets.add(record)
        return record

    def add_job(
        self,
        name: str,
        *,
        eval_dataset: DatasetRecord | None = None,
        model: str = "org/base",
        sweep_id: str | None = None,
    ) -> str:
        dataset = self.add_dataset(f"{name} rows")
        job_id = new_id("job")
        config = JobConfig(
            name=name,
            model=model,
            dataset=dataset.id,
            eval_dataset=eval_dataset.id if eval_dataset else None,
            training=TrainingConfig(max_steps=10),
            lora=LoraConfig(r=8, target_modules=["q_proj", "v_proj"]),
        )
        with self.store.begin() as tx:
            tx.jobs.add(job_id, owner="local", name=name, config=config, now=self.clock(), sweep_id=sweep_id)
        return job_id

    def add_claimed_job(self, name: str) -> str:
        """A job that has left the queue: two events so far."""
        return self.claim(self.add_job(name)).id

    def start_attempt(self, job_id: str, *, resumed_from_step: int | None = None) -> JobRef:
        ref = self.claim(job_id, resumed_from_step=resumed_from_step)
        self.run(ref)
        return ref

    def claim(self, job_id: str, *, resumed_from_step: int | None = None) -> JobRef:
        with self.store.begin() as tx:
            lease = tx.leases.acquire("coordinator", "test", ttl_s=60, now=self.clock())
            attempt = tx.jobs.claim(
                job_id,
                driver="driver",
                cpus=1,
                gpus=0,
                resumed_from_step=resumed_from_step,
                epoch=lease.epoch,
                now=self.clock(),
            )
            return JobRef(job_id, attempt.number)

    def run(self, ref: JobRef) -> None:
        with self.store.begin() as tx:
            tx.jobs.move(ref, JobStatus.INITIALIZING, now=self.clock())
            tx.jobs.move(ref, JobStatus.RUNNING, now=self.clock())

    def requeue(self, ref: JobRef) -> None:
        with self.store.begin() as tx:
            reason = ReasonCode.WORKER_CRASHED
            tx.attempts.end(ref, reason=reason, message="The worker is gone.", now=self.clock())
            tx.jobs.move(ref, JobStatus.QUEUED, now=self.clock())

    def emit(self, ref: JobRef, kind: EventKind, *items: dict[str, Any]) -> None:
        events = []
        for data in items:
            self.clock.advance(0.25)
            events.append(NewEvent(parse_payload(kind, data), self.clock()))
        with self.store.begin() as tx:
            tx.events.append(ref, events)

    def log_steps(self, ref: JobRef, steps: range, **extra: float) -> None:
        """One metrics event a step: the loss is `1 / step`."""
        items = [{"step": step, "epoch": step / 10, "values": {"loss": 1 / step, **extra}} for step in steps]
        self.emit(ref, EventKind.METRICS, *items)

    def write_logs(self, ref: JobRef) -> Path:
        file = self.jobs_folder / ref.id / "logs" / f"attempt-{ref.attempt}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"level": "info", "text": f"attempt {ref.attempt}"}) + "\n")
        return file

    def write_model(self, folder: Path, files: Mapping[str, bytes]) -> None:
        commit_folder(folder, files, job_id=folder.parent.name)

    def complete(self, ref: JobRef, files: Mapping[str, bytes], *, folder_name: str = "model") -> ModelRecord:
        """Write the model and end the job; the model's record is returned."""
        folder = self.jobs_folder / ref.id / folder_name
        self.write_model(folder, files)
        with self.store.begin() as tx:
            name = tx.jobs.get(ref.id).name
            model = ModelRecord(
                new_id("mdl"),
                "local",
                ref.id,
                name,
                "adapter",
                "org/base",
                "abc123",
                10,
                folder,
                None,
                self.clock(),
            )
            tx.models.add(model)
            tx.attempts.end(ref, reason=ReasonCode.OK, message="Done.", now=self.clock())
            tx.jobs.move(ref, JobStatus.COMPLETED, now=self.clock(), model_id=model.id)
        return model

    def fail(self, ref: JobRef, reason: ReasonCode, message: str) -> None:
        with self.store.begin() as tx:
            tx.attempts.end(ref, reason=reason, message=message, now=self.clock())
            tx.jobs.move(ref, JobStatus.FAILED, now=self.clock(), reason=reason, message=message)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    store = Store.open(f"sqlite:///{make_database(tmp_path / 'ftlab.db')}")
    yield Jobs(store, tmp_path / "jobs")
    store.close()


@dataclass(frozen=True)
class Reading:
    """What MLflow knows of one job."""

    client: MlflowClient
    run: mlflow_entities.Run

    def history(self, key: str) -> list[tuple[int, float]]:
        points = self.client.get_metric_history(self.run.info.run_id, key)
        return sorted((point.step, point.value) for point in points)

    def artifacts(self, folder: str | None = None) -> list[str]:
        found: list[str] = []
        for entry in self.client.list_artifacts(self.run.info.run_id, folder):
            found += self.artifacts(entry.path) if entry.is_dir else [entry.path]
        return found

    def text(self, path: str, target: Path) -> str:
        return Path(self.client.download_artifacts(self.run.info.run_id, path, str(target))).read_text("utf-8")


@dataclass(frozen=True)
class Reader:
    """Reads back what was recorded, with a client of its own."""

    url: str
    client: MlflowClient

    def runs(self, job_id: str) -> list[mlflow_entities.Run]:
        experiments = [entry.experiment_id for entry in self.client.search_experiments()]
        return list(self.client.search_runs(experiments, f"tags.`ftlab.job_id` = '{job_id}'"))

    def of(self, job_id: str) -> Reading:
        """Fails unless the job has exactly one run."""
        (run,) = self.runs(job_id)
        return Reading(self.client, run)


@pytest.fixture
def reader(session_server: MlflowServer) -> Reader:
    url = session_server.url
    return Reader(url, MlflowClient(url, registry_uri=url))


@pytest.fixture
def api(session_server: MlflowServer) -> MlflowApi:
    return MlflowApi(session_server.url)


@pytest.fixture
def recorder(jobs: Jobs, api: MlflowApi) -> Recorder:
    return Recorder(jobs.store, api, jobs.jobs_folder, jobs.clock, SERVER_URL)

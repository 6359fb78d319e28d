"""A service without Ray whose jobs are in every state: the real application and database, and runs that are played.

`python -m tests.browser.scene FOLDER PORT` serves it, for work on the web app; one job of it is training all the time.
"""

import hashlib
import json
import math
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from cluster.fakes import FakeEventHub
from cluster.interfaces import EventDocument
from cluster.policy import Fleet, Node
from cluster.runs.attempt_log import AttemptLog
from ftlab.errors import ServiceUnavailableError
from ftlab.manifest import MANIFEST
from ftlab.schemas import CheckpointPayload, EventPayload, LogPayload, MetricsPayload, SamplePayload
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode
from serve.app import create_app
from serve.streams.subscriptions import EventFeed
from tests.browser.scene_devices import GPUS_OF_WORKER, NODE_ID, PLACEMENT, add_history, add_load, machines
from tests.browser.scene_sweeps import add_sweep
from tests.support.committed_folders import commit_folder
from tests.support.databases import make_database
from tests.support.lab import rows
from tests.support.service_fakes import FakeCoordinator, FakeTelemetry, fake_services
from tracking.costs import record_of
from tracking.notifications.collect import Collector
from tracking.store import Store
from tracking.store.ids import new_id
from tracking.store.leases import COORDINATOR
from tracking.store.records import JobRef, ModelRecord
from train.plan import Failure, ModelLoaded
from train.reporting.event_sender import Emitted

HOSTILE = "<img src=x onerror=alert(1)>"
"""Name of a job, as somebody may give it."""
PROMPTS = ["My order has not arrived.", "How do I change my address?"]
JOBS = "/api/training/jobs"


class NoHub(FakeEventHub):
    """A hub that cannot be reached, so that the streams read the database."""

    async def listen(self, after: int) -> tuple[int, list[EventDocument]]:
        raise ServiceUnavailableError("There is no hub here.")


class Scene:
    """One service with its jobs. `app` is the application to serve."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, prices={"cpu": Decimal("0.04")}, currency="EUR")
        make_database(home / "ftlab.db")
        self.store = Store.open(self.settings.store_url)
        self.hub = NoHub()
        coordinator = FakeCoordinator()
        coordinator.fleet = Fleet((Node(NODE_ID, cpus=8, gpus=2, gpu_type="H100"),))
        self.telemetry = FakeTelemetry(machines(datetime.now(UTC)))
        parts = {"coordinator": coordinator, "feed": self._new_feed(), "telemetry": self.telemetry}
        self.services = fake_services(self.settings, self.store, self.hub, **parts)
        self.app = create_app(self.services)
        self.random = random.Random(7)
        self._collector = Collector(self.store)
        # Not as a context: its feed belongs to the loop of the server.
        self.api = TestClient(self.app, base_url="http://127.0.0.1")
        self.lead()

    def new_app(self) -> FastAPI:
        """The application as a process that starts again has it."""
        return create_app(replace(self.services, feed=self._new_feed()))

    def _new_feed(self) -> EventFeed:
        return EventFeed(self.hub, poll_interval_s=0.1, resync_interval_s=0.2)

    def lead(self, seconds: float = 3600) -> int:
        """Hold the lease of the coordinator, so that the queue is not said to wait for one."""
        with self.store.begin() as tx:
            now = datetime.now(UTC)
            return tx.leases.acquire(COORDINATOR, "scene", ttl_s=seconds, now=now).epoch

    def dataset(self, name: str = "support-train.jsonl", count: int = 40) -> str:
        reply = self.api.post("/api/datasets", content=rows(count).encode(), headers={"x-filename": name})
        assert reply.status_code in (200, 201), reply.text
        return str(reply.json()["id"])

    def submit(self, name: str, dataset: str, **config: Any) -> str:
        body = {"name": name, "model": "HuggingFaceTB/SmolLM2-135M-Instruct", "dataset": dataset} | config
        reply = self.api.post(JOBS, json=body)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    def run(self, job_id: str, resumed_from_step: int | None = None, started_at: datetime | None = None) -> "PlayedRun":
        """Start the next attempt of a queued job."""
        now = started_at or datetime.now(UTC)
        with self.store.begin() as tx:
            attempt = tx.jobs.claim(
                job_id,
                driver=f"run-{job_id}",
                cpus=2,
                gpus=1,
                placement=PLACEMENT,
                resumed_from_step=resumed_from_step,
                epoch=tx.leases.current(COORDINATOR).epoch,
                now=now,
            )
            ref = JobRef(job_id, attempt.number)
            tx.attempts.set_processes(ref, pids=[4711], process_devices=GPUS_OF_WORKER)
        return PlayedRun(self, ref)

    def settle(self, ref: JobRef, status: JobStatus, **fields: Any) -> None:
        """What the coordinator does after an attempt."""
        with self.store.begin() as tx:
            tx.jobs.move(ref, status, now=datetime.now(UTC), **fields)

    def notify(self) -> None:
        """What the notifier does about once a second."""
        while self._collector.step():
            pass

    def record_cost(self, ref: JobRef) -> None:
        """What the coordinator records of an attempt that has ended."""
        with self.store.begin() as tx:
            tx.attempts.count(ref, now=datetime.now(UTC))
            tx.costs.add(record_of(self.settings, tx.jobs.get(ref.id), tx.attempts.get(ref)))


class PlayedRun:
    """One attempt that reports what a training run would."""

    def __init__(self, scene: Scene, ref: JobRef, total_steps: int = 200) -> None:
        self.ref = ref
        self.total_steps = total_steps
        self.rises_at = math.inf
        """Step at which the loss begins to rise."""
        self._scene = scene
        self._log = AttemptLog(scene.store, scene.hub, ref)
        self._number = 0
        self._best = math.inf
        self._at = datetime.now(UTC)

    def load(self) -> "PlayedRun":
        self._log.move(JobStatus.INITIALIZING)
        self.report(LogPayload(level="info", text="Loading the base model."))
        self.report(ModelLoaded("c0ffee" * 6 + "c0de"))
        return self

    def train(self, steps: Sequence[int], *, at: datetime | None = None, every_s: float = 1.5) -> "PlayedRun":
        """Log these steps, from `at` on, one every `every_s` seconds."""
        self._at = at or datetime.now(UTC)
        if at:
            with self._scene.store.begin() as tx:
                add_load(tx, self.ref, at, math.ceil(len(steps) * every_s))
        for step in steps:
            self._at += timedelta(seconds=every_s if at else 0)
            self.step(step)
        return self

    def step(self, step: int) -> None:
        noise = self._scene.random.gauss(0, 0.06)
        loss = 1.15 + 2.4 * math.exp(-step / 45) + noise + (0 if step < self.rises_at else 4.0 * (step - self.rises_at))
        warm = min(1.0, step / 10)
        values: dict[str, float | None] = {
            "loss": loss,
            "learning_rate": 1e-3 * warm * (1 - step / (self.total_steps + 1)),
            "grad_norm": 0.8 + 1.5 * math.exp(-step / 30) + abs(noise),
            "tokens_per_s": 118 + 40 * noise,
            "step_time_s": 1.5,
        }
        self._metrics(step, values)
        if step % 25 == 0:
            self._evaluate(step, 1.25 + 2.2 * math.exp(-step / 40))

    def _metrics(self, step: int, values: dict[str, float | None]) -> None:
        left = (self.total_steps - step) * 1.5
        position = {"step": step, "total_steps": self.total_steps, "epoch": step / 100, "file": 1, "num_files": 1}
        self.report(MetricsPayload(**position, file_progress=step / self.total_steps, eta_s=left, values=values))

    def _evaluate(self, step: int, loss: float) -> None:
        self._metrics(step, {"eval_loss": loss})
        is_best, self._best = loss < self._best, min(loss, self._best)
        saved = self._save(step) | {"step": step, "size_bytes": 18_400_000, "metrics": {"eval_loss": loss}}
        self.report(CheckpointPayload(**saved, is_best=is_best))
        for number, prompt in enumerate(PROMPTS, 1):
            answer = f"Thank you for your message. ({step} steps)\nPlease send us your order number."
            self.report(SamplePayload(step=step, number=number, prompt=prompt, text=answer, num_tokens=21))

    def _save(self, step: int) -> dict[str, Any]:
        """A checkpoint on disk that a resume accepts."""
        name = f"step-{step:08d}"
        folder = self._scene.settings.home / "jobs" / self.ref.id / "checkpoints" / name
        commit_folder(folder, {"adapter_model.safetensors": b"x"}, job_id=self.ref.id, step=step)
        return {"name": name, "manifest_sha256": hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()}

    def report(self, payload: EventPayload | ModelLoaded) -> None:
        self._number += 1
        self._log.record([Emitted(self._number, self._at, payload)])

    def complete(self) -> None:
        def model(job: Any) -> ModelRecord:
            folder = Path("jobs") / job.id / "model"
            made = {"owner": job.owner, "job_id": job.id, "name": job.name, "kind": "adapter"}
            base = {"base_model": job.config.model, "base_revision": "c0ffee" * 6 + "c0de", "step": self.total_steps}
            return ModelRecord(
                new_id("model"), **made, **base, path=folder, mlflow_version=None, created_at=datetime.now(UTC)
            )

        self._log.complete(model, 1)
        self._log.close()
        self._scene.record_cost(self.ref)

    def fail(self, failure: Failure) -> None:
        self._log.end(failure)
        self._log.close()
        self._scene.record_cost(self.ref)
        self._scene.settle(self.ref, JobStatus.FAILED, reason=failure.reason, message=failure.message)

    def crash(self) -> None:
        """End as a crash does that is retried: the job is queued again."""
        self._log.end(Failure(ReasonCode.WORKER_CRASHED, "A worker process exited with signal 9."))
        self._log.close()
        self._scene.record_cost(self.ref)
        self._scene.settle(self.ref, JobStatus.QUEUED, retries_used=1)

    def close(self) -> None:
        self._log.close()


def diverged() -> Failure:
    return Failure(
        ReasonCode.LOSS_DIVERGED,
        "The loss became NaN at step 64. Lower training.learning_rate, or resume with the suggested settings.",
        notes=("Step 61: loss 2.31, gradient norm 9.4", "Step 63: loss 84.2, gradient norm 5120"),
        field="training.learning_rate",
    )


def furnish(scene: Scene) -> PlayedRun:
    """Jobs in every state, as after a morning of work. Returns the run that is still training."""
    train, heldout = scene.dataset(), scene.dataset("support-heldout.jsonl", 12)
    earlier = datetime.now(UTC) - timedelta(hours=2)
    training = {"max_steps": 200, "learning_rate": 1e-3, "save_steps": 25}

    done = scene.submit("support-v1", train, eval_dataset=heldout, training=training | {"sample_prompts": PROMPTS})
    first = scene.run(done, started_at=earlier).load().train(range(1, 90), at=earlier)
    first.crash()
    later = earlier + timedelta(minutes=6)
    scene.run(done, 75, later).load().train(range(76, 201), at=later).complete()

    failed = scene.submit("support-hot", train, eval_dataset=heldout, training=training | {"learning_rate": 0.9})
    hot = scene.run(failed, started_at=earlier).load()
    hot.rises_at = 56
    hot.train(range(1, 64), at=earlier).fail(diverged())

    cancelled = scene.submit(HOSTILE, train)
    scene.api.post(f"{JOBS}/{cancelled}/cancel")
    paused = scene.submit("faq-full", train, tuning="full", training={"max_steps": 500})
    scene.api.post(f"{JOBS}/{paused}/pause")

    prompts = training | {"sample_prompts": PROMPTS}
    live = scene.submit("support-v2", train, eval_dataset=heldout, training=prompts | {"learning_rate": 5e-4})
    for number in range(1, 6):
        scene.submit(f"sweep-rank-{2**number}", train, lora={"r": 2**number}, priority=50)
    scene.submit("urgent-fix", train, priority=80)
    with scene.store.begin() as tx:
        add_history(tx, datetime.now(UTC) - timedelta(minutes=10), 600)
    add_sweep(scene.api, scene.store, train, done)
    running = scene.run(live).load().train(range(1, 81), at=datetime.now(UTC) - timedelta(minutes=2))
    scene.notify()
    return running


def main(folder: str, port: str) -> None:
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    scene = Scene(home)
    live = furnish(scene)

    def train_on() -> None:
        for step in range(81, 100_000):
            live.total_steps = max(200, step + 40)
            live.train([step])
            scene.telemetry.found = machines(datetime.now(UTC))
            scene.lead()
            scene.notify()
            time.sleep(0.5)

    threading.Thread(target=train_on, daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
    uvicorn.run(scene.app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])

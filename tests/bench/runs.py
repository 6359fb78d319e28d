"""Training runs, in the service and as a plain script, told as the same list of steps."""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ftlab.schemas import Event, EventKind, JobConfig
from ftlab.status import JobStatus
from tests.bench.harness import BenchError
from tests.bench.processes import ROOT, environment
from tests.bench.service import Service
from tests.bench.workload import Workload
from tracking.store.records import AttemptRecord

SCRIPT_TIMEOUT_S = 1800.0
POLL_INTERVAL_S = 0.1
HALTED_AT_MOST_S = 24 * 3600


@dataclass(frozen=True)
class Step:
    """A logged step; `at` is the wall-clock time of its log call, in seconds."""

    number: int
    at: float
    loss: float
    tokens: float
    """Tokens seen since the first step, padding left out."""


@dataclass(frozen=True)
class PlainRun:
    started_at: float
    """When the process was started."""
    steps: list[Step]
    ended_at: float
    """When the process had ended, with the model saved."""


def run_plain(work: Workload, config: JobConfig, folder: Path) -> PlainRun:
    """Run the plain script in a process of its own until it ends."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="plain-") as tmp:
        job, output = Path(tmp) / "job.json", Path(tmp) / "steps.jsonl"
        document = {
            "model": str(work.model),
            "rows": str(work.rows),
            "config": config.model_dump(mode="json"),
            "learning_rate": config.learning_rate,
            "threads": os.cpu_count(),
        }
        job.write_text(json.dumps(document), "utf-8")
        # Its caches are kept from run to run, as they are for a user who starts a script again.
        env = environment() | {"HF_DATASETS_CACHE": str(folder / "datasets-cache"), "TOKENIZERS_PARALLELISM": "false"}
        started_at = time.time()
        command = [sys.executable, "-m", "tests.bench.plain_trl", str(job), str(output)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=SCRIPT_TIMEOUT_S)
        if done.returncode:
            raise BenchError(f"The plain script failed: {done.stderr.strip()[-500:]}")
        ended_at = time.time()
        lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    steps = [Step(line["step"], line["at"], line["loss"], line["tokens"]) for line in lines]
    return PlainRun(started_at, steps, ended_at)


def run_job(service: Service, config: JobConfig) -> list[Event]:
    """Run a job of the service to its end and return its events."""
    job = service.client.jobs.create(config)
    service.client.jobs.wait(job.id)
    return events_of(service, job.id)


def events_of(service: Service, job_id: str) -> list[Event]:
    return list(service.client.jobs.events(job_id))


def steps_of(events: Sequence[Event]) -> list[Step]:
    """The logged steps among a job's events."""
    told = [(event, event.data["values"]) for event in events if event.kind is EventKind.METRICS]
    return [
        Step(event.data["step"], event.at.timestamp(), values["loss"], values["num_tokens"])
        for event, values in told
        if "loss" in values
    ]


def status_at(events: Sequence[Event], status: JobStatus) -> float:
    """When the job got this status, for the first time."""
    for event in events:
        if event.kind is EventKind.STATUS and event.data["status"] == status:
            return event.at.timestamp()
    raise BenchError(f"The job never was {status}.")


def wait_for_status(service: Service, job_id: str, status: JobStatus, timeout_s: float = 300.0) -> None:
    """Wait until the job has this status. Raise `BenchError` when it ends otherwise."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        job = service.client.jobs.get(job_id)
        if job.status is status:
            return
        if job.status.is_terminal:
            raise BenchError(f"Job {job_id} became {job.status}: {job.message}")
        time.sleep(POLL_INTERVAL_S)
    raise BenchError(f"Job {job_id} was not {status} after {timeout_s:.0f} s.")


@contextmanager
def halted_job(service: Service, work: Workload) -> Iterator[AttemptRecord]:
    """A running job that holds all devices and uses none of them: its worker is halted (SIGSTOP)."""
    config = work.job("holds the devices", max_steps=10_000_000, logging_steps=10_000_000)
    # The watchdog must not end the worker for its silence.
    config = config.model_copy(update={"stuck_timeout_s": HALTED_AT_MOST_S, "first_step_timeout_s": HALTED_AT_MOST_S})
    job_id = service.client.jobs.create(config).id
    wait_for_status(service, job_id, JobStatus.RUNNING)
    with service.store.read() as tx:
        attempt = tx.attempts.of_job(job_id)[-1]
    os.kill(attempt.pids[0], signal.SIGSTOP)
    try:
        yield attempt
    finally:
        with suppress(ProcessLookupError):
            os.kill(attempt.pids[0], signal.SIGCONT)
        service.client.jobs.cancel(job_id)
        service.client.jobs.wait(job_id, raise_on_failure=False)


def median_step_s(steps: Sequence[Step]) -> float:
    """Seconds from one step to the next, the first three left out."""
    times = [step.at for step in steps[2:]]
    return statistics.median(after - before for before, after in pairwise(times))

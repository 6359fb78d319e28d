"""Jobs, snapshots and details for the tests of the monitor; every value is fixed."""

import math
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from ftlab.schemas import Attempt, Checkpoint, Event, FailureAnalysis, Job, LogLine
from ftlab.status import JobStatus
from ftlab.tui.series import Point, Series
from ftlab.tui.snapshot import JobDetail, Link, LinkState, Snapshot, Trend, in_table_order

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SERVER = "http://127.0.0.1:8000"
S = JobStatus


def make_job(id: str = "job-a", **changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": id,
        "owner": "local",
        "name": id.removeprefix("job-"),
        "status": S.QUEUED,
        "message": "",
        "config": {"model": "acme/tiny", "dataset": "ds-1", "method": {"type": "sft"}, "training": {"max_steps": 1000}},
        "created_at": NOW - timedelta(hours=1),
    }
    values |= changes
    values["message"] = values["message"] or values["status"].sentence
    return Job.model_validate(values)


def running(id: str = "job-run", **changes: Any) -> Job:
    values: dict[str, Any] = {
        "status": S.RUNNING,
        "attempt": 1,
        "step": 412,
        "total_steps": 1000,
        "loss": 1.8231,
        "eval_loss": 1.9012,
        "epoch": 1.24,
        "eta_s": 2400.0,
        "run_time_s": 1680.0,
        "started_at": NOW - timedelta(minutes=28),
    }
    return make_job(id, **values | changes)


def queued(id: str, position: int, **changes: Any) -> Job:
    waits = {1: "Waiting for 1 GPU; none is free.", 2: "Waiting for 1 job ahead of it."}
    values = {"queue_position": position, "waiting_for": waits.get(position, "Waiting for its data.")}
    return make_job(id, **values | changes)


def ended(id: str, status: JobStatus, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "status": status,
        "attempt": 1,
        "step": 600,
        "total_steps": 600,
        "loss": 1.204,
        "run_time_s": 3720.0,
        "finished_at": NOW - timedelta(hours=2),
        "model_id": "mdl-1" if status is S.COMPLETED else None,
    }
    return make_job(id, **values | changes)


def failed(id: str = "job-bad") -> Job:
    message = "The loss became infinite at step 34. Lower training.learning_rate."
    changes: dict[str, Any] = {"message": message, "reason": "loss_diverged", "step": 34, "loss": 14.6}
    return ended(id, S.FAILED, **changes)


def all_kinds() -> list[Job]:
    return [
        running("job-support-v3"),
        queued("job-support-v4", 1),
        queued("job-faq-dpo", 2, attempt=1, config={"model": "acme/tiny", "method": {"type": "dpo"}, "dataset": "d"}),
        ended("job-nightly", S.PAUSED, step=105, finished_at=None, model_id=None, created_at=NOW - timedelta(days=1)),
        ended("job-support-v2", S.COMPLETED),
        failed("job-steep"),
        ended("job-typo", S.CANCELLED, step=0, loss=None, run_time_s=None, finished_at=NOW - timedelta(hours=5)),
    ]


def snapshot_of(jobs: Iterable[Job], **link: Any) -> Snapshot:
    ordered = in_table_order(list(jobs))
    values = {"state": LinkState.LIVE, "fetched_at": NOW} | link
    trends = {job.id: Trend((4.0, 3.1, 2.6, 2.2, 2.0, 1.9, 1.85, 1.82), 1.2e-4, 5312.0) for job in ordered if job.step}
    return Snapshot(Link(SERVER, **values), ordered, trends)


def series_of(values: Iterable[float], every: int = 1, attempt_from: int | None = None) -> Series:
    return tuple(
        Point(
            step := every * (place + 1),
            value,
            NOW - timedelta(seconds=5000 - 4 * step),
            2 if attempt_from is not None and step >= attempt_from else 1,
            step / 330,
        )
        for place, value in enumerate(values)
    )


def losses(count: int) -> list[float]:
    """A falling loss with noise."""
    noise = random.Random(7)
    return [1.7 + 2.6 * math.exp(-place / 60) + noise.gauss(0, 0.1) for place in range(count)]


def noisy(count: int, mean: float, deviation: float) -> list[float]:
    noise = random.Random(count)
    return [noise.gauss(mean, deviation) for _ in range(count)]


def checkpoint(job_id: str, step: int, **changes: Any) -> Checkpoint:
    values = {
        "name": f"step-{step:08}",
        "job_id": job_id,
        "step": step,
        "attempt": 1,
        "size_bytes": 14_200_000,
        "metrics": {"loss": 1.92, "eval_loss": 1.98},
        "created_at": NOW - timedelta(seconds=4 * (500 - step)),
    }
    return Checkpoint.model_validate(values | changes)


def event(job_id: str, seq: int, kind: str, attempt: int = 1, **data: Any) -> Event:
    at = NOW + timedelta(seconds=seq - 1000)
    return Event.model_validate(
        {"job_id": job_id, "seq": seq, "attempt": attempt, "at": at, "kind": kind, "data": data}
    )


def analysis() -> FailureAnalysis:
    return FailureAnalysis.model_validate(
        {
            "cause": "diverged",
            "reason": "loss_diverged",
            "phase": "training",
            "attempt": 1,
            "confidence": "certain",
            "sentence": "The training diverged: the loss became infinite at step 34.",
            "evidence": ["Gradient norm: 4.1e7 at step 33."],
            "suggestions": [
                {
                    "changes": [{"field": "training.learning_rate", "from": 0.01, "to": 0.001}],
                    "reason": "Steps that are too large are the usual cause.",
                    "effect": "Updates ten times smaller.",
                },
                {
                    "changes": [
                        {"field": "training.max_grad_norm", "from": 0.0, "to": 1.0},
                        {"field": "training.lr_scheduler_type", "from": "linear", "to": "cosine"},
                    ],
                    "reason": "Gradients are not clipped.",
                    "effect": "A single step can no longer ruin the weights.",
                },
            ],
            "resume_from": {"name": "step-00000030", "step": 30, "reason": "It is from before the loss rose."},
        }
    )


def detail_of(job: Job, **changes: Any) -> JobDetail:
    count = max(job.step, 1)
    values: dict[str, Any] = {
        "series": {
            "loss": series_of(losses(count), attempt_from=250),
            "eval_loss": series_of([1.92 + 2.4 * math.exp(-step / 70) for step in range(50, count + 1, 50)], every=50),
            "learning_rate": series_of([2e-4 * (1 - place / 1000) for place in range(count)]),
            "grad_norm": series_of(noisy(count, 0.8, 0.1)),
            "tokens_per_s": series_of(noisy(count, 5300, 60)),
            "step_time_s": series_of(noisy(count, 0.61, 0.01)),
        },
        "logs": tuple(
            LogLine(at=NOW + timedelta(seconds=place - 60), level=level, text=text, attempt=1)
            for place, (level, text) in enumerate(
                [
                    ("info", "The workers are up and are loading the model and the data."),
                    ("warning", "Row 17 has 2,310 tokens and is cut to 2,048."),
                    *(("info", f"Step {step}/1000: loss {losses(60)[step]:.4g}") for step in range(1, 50)),
                ]
            )
        ),
        "events": (
            event(job.id, 1, "status", status="queued", message="The job is waiting for its turn."),
            event(job.id, 9, "status", status="running", message="The job is training."),
            event(job.id, 60, "checkpoint", step=100, name="step-00000100", size_bytes=14_200_000, is_best=True),
        ),
        "checkpoints": tuple(checkpoint(job.id, step, is_best=step == 400) for step in (400, 300, 200)),
        "attempts": (
            Attempt(
                number=1,
                cpus=4,
                gpus=1,
                created_at=NOW - timedelta(minutes=40),
                ended_at=NOW - timedelta(minutes=30),
                reason="worker_crashed",
                message="The training process was killed.",
            ),
        ),
        "failure": analysis() if job.status is S.FAILED else None,
        "is_live": not job.status.is_terminal,
    }
    return JobDetail(job, **values | changes)

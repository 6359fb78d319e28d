"""Records for the store's tests."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

from ftlab.schemas import JobConfig, LogPayload
from ftlab.schemas.sweeps import SweepStatus
from ftlab.status import TRANSITIONS, JobStatus, ReasonCode
from tracking.store import Store
from tracking.store.ids import new_id
from tracking.store.records import (
    CheckpointRecord,
    DatasetRecord,
    JobRecord,
    JobRef,
    Lease,
    MetricRecord,
    ModelRecord,
    NewEvent,
)
from tracking.store.sweeps import SweepRecord

Result = TypeVar("Result")

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
LIVE_PATH = (JobStatus.INITIALIZING, JobStatus.RUNNING)
CONFIG = {"model": "org/name", "dataset": "ds-1"}


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def add_job(
    store: Store, *, job_id: str | None = None, config: dict[str, Any] | None = None, **changes: Any
) -> JobRecord:
    """`config` and `changes` are put over those of an ordinary job."""
    values: dict[str, Any] = {
        "owner": "local",
        "name": "a job",
        "config": JobConfig.model_validate(CONFIG | (config or {})),
        "now": NOW,
    }
    with store.begin() as tx:
        return tx.jobs.add(job_id or new_id("job"), **(values | changes))


def get_job(store: Store, job_id: str) -> JobRecord:
    with store.read() as tx:
        return tx.jobs.get(job_id)


def hold_lease(store: Store, holder: str = "coordinator-1") -> Lease:
    with store.begin() as tx:
        return tx.leases.acquire("coordinator", holder, ttl_s=10, now=NOW)


def claim(store: Store, job_id: str, *, now: datetime = NOW) -> JobRef:
    epoch = hold_lease(store).epoch
    with store.begin() as tx:
        attempt = tx.jobs.claim(job_id, driver=f"run-{job_id}", cpus=2, gpus=0, epoch=epoch, now=now)
    return JobRef(job_id, attempt.number)


def start(store: Store, job_id: str) -> JobRef:
    """Claim the job and let it run."""
    ref = claim(store, job_id)
    with store.begin() as tx:
        for status in LIVE_PATH:
            tx.jobs.move(ref, status, now=NOW)
    return ref


def retry(store: Store, ref: JobRef) -> JobRef:
    """End the attempt and start the next one: `ref` is stale from then on."""
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.WORKER_CRASHED, message="It crashed.", now=NOW)
        tx.jobs.move(ref, JobStatus.QUEUED, now=NOW)
    return start(store, ref.id)


def reach(store: Store, status: JobStatus) -> JobRef:
    """A new job, led to a status along the shortest way that the table of transitions allows."""
    ref = JobRef(add_job(store).id, 0)
    for step in _shortest_way(status):
        if step is JobStatus.PENDING:
            ref = claim(store, ref.id)
            continue
        with store.begin() as tx:
            tx.jobs.move(ref, step, now=NOW)
    return ref


def _shortest_way(target: JobStatus) -> list[JobStatus]:
    ways: deque[list[JobStatus]] = deque([[JobStatus.QUEUED]])
    while ways:
        way = ways.popleft()
        if way[-1] is target:
            return way[1:]
        ways.extend([*way, status] for status in sorted(TRANSITIONS[way[-1]]) if status not in way)
    raise AssertionError(f"{target} cannot be reached")


def log_event(text: str, at: datetime = NOW) -> NewEvent:
    return NewEvent(LogPayload(level="info", text=text), at)


def point(job_id: str, step: int, value: float = 1.0, *, name: str = "loss", attempt: int = 1) -> MetricRecord:
    return MetricRecord(job_id, name, step, value, NOW, attempt)


def checkpoint(job_id: str, step: int, attempt: int = 1, **changes: Any) -> CheckpointRecord:
    values: dict[str, Any] = {
        "job_id": job_id,
        "step": step,
        "attempt": attempt,
        "name": f"step-{step:08d}",
        "size_bytes": 5_000_000_000,
        "manifest_sha256": "f" * 64,
        "created_at": NOW,
        "metrics": {"eval_loss": 0.5},
    }
    return CheckpointRecord(**(values | changes))


def dataset(dataset_id: str = "ds-1", *, owner: str = "local") -> DatasetRecord:
    return DatasetRecord(
        id=dataset_id,
        owner=owner,
        name="rows.jsonl",
        bucket="default",
        format="jsonl",
        shape="messages",
        num_rows=10,
        size_bytes=5_000_000_000,
        sha256="a" * 64,
        kind="messages",
        canonical=f"canonical/{'a' * 64}-{'b' * 12}.arrow",
        created_at=NOW,
    )


def model(job_id: str, model_id: str = "model-1", *, owner: str = "local") -> ModelRecord:
    return ModelRecord(
        id=model_id,
        owner=owner,
        job_id=job_id,
        name="a job",
        kind="adapter",
        base_model="org/name",
        base_revision=None,
        step=10,
        path=Path("jobs") / job_id / "model",
        mlflow_version=None,
        created_at=NOW,
    )


def at_once(count: int, work: Callable[[int], Result]) -> list[Result | Exception]:
    """Run `work(0..count-1)` in as many threads, started together; an exception stands for its result."""
    barrier = Barrier(count)

    def run(number: int) -> Result | Exception:
        barrier.wait()
        try:
            return work(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def running_sweep(
    config: dict[str, Any], *, whole: Sequence[str], now: datetime, rungs: tuple[int, ...] = (), max_trials: int = 3
) -> SweepRecord:
    """A sweep that was just submitted."""
    return SweepRecord(
        id=new_id("sweep"),
        owner="local",
        name="rates",
        config=config,
        whole=tuple(whole),
        rungs=rungs,
        max_trials=max_trials,
        auto={},
        base_job_id=None,
        model_revision=None,
        status=SweepStatus.RUNNING,
        message="The sweep is searching.",
        is_settled=False,
        idempotency_key=None,
        body_sha256="",
        created_at=now,
        finished_at=None,
    )

"""`/api/training/queue`: the running jobs, the waiting jobs, and what they wait for."""

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.responses import Response

from ftlab.schemas import Queue, QueueEntry, RunningEntry
from ftlab.status import JobStatus, Phase
from serve.context import Caller, Services
from serve.http.query import After, Limit
from serve.http.responses import reply
from serve.telemetry.nodes import gpus_out
from tracking.store import Transaction
from tracking.store.leases import COORDINATOR
from tracking.store.records import AttemptRecord, JobRecord

router = APIRouter(tags=["jobs"])


@router.get("/api/training/queue", response_model=Queue, summary="Get a snapshot of the queue")
async def get_queue(caller: Caller, after: After = None, limit: Limit = 100) -> Response:
    """All your running jobs, and one page of your waiting jobs, next job first."""
    return reply(await caller.call(read_queue, after, limit))


def read_queue(services: Services, owner: str, after: str | None, limit: int) -> Queue:
    """The queue as `owner` may see it: positions count all jobs, entries are one page of the owner's own."""
    now = datetime.now(UTC)
    with services.store.read() as tx:
        running = tx.jobs.live()
        heads = tx.jobs.queued(1)
        queued = tx.jobs.queue_page(owner, after=after, limit=limit + 1)
        positions = tx.jobs.queue_positions([job.id for job in queued[:limit]])
        num_queued = tx.jobs.num_queued(owner)
        held = {attempt.job_id: attempt for attempt in tx.attempts.live()} if running else {}
        is_at_work = is_scheduling(tx, now) if heads else False
        out = gpus_out(tx)
    return Queue(
        running=[
            RunningEntry.of(job, job_id=job.id, eta_s=eta_of(job), phase=phase_of(job), **devices_of(held.get(job.id)))
            for job in running
            if job.owner == owner
        ],
        queued=[
            QueueEntry.of(
                job,
                job_id=job.id,
                position=positions[job.id],
                waiting_for=waits_for(job, positions[job.id], now, is_scheduling=is_at_work),
            )
            for job in queued[:limit]
        ],
        num_queued=num_queued,
        has_more=len(queued) > limit,
        next_cursor=queued[limit - 1].id if len(queued) > limit else None,
        waiting_for=_head_waits_for(heads[0], len(running), now, is_scheduling=is_at_work) if heads else None,
        gpus_out=out,
    )


def waits_for(job: JobRecord, position: int, now: datetime, *, is_scheduling: bool) -> str:
    """What a queued job waits for, in one sentence; if the scheduler has seen it, what was missing."""
    assert job.status is JobStatus.QUEUED
    if job.not_before is not None and job.not_before > now:
        return f"Waiting until {job.not_before:%H:%M:%S} UTC, when it is retried."
    if not is_scheduling:
        return "Waiting for the scheduler, which is starting or unavailable."
    if job.waiting_for:
        return job.waiting_for
    if position == 1:
        return "Waiting for free devices."
    return f"Waiting for {'1 job' if position == 2 else f'{position - 1} jobs'} ahead of it."


def queued_message(position: int, waiting_for: str) -> str:
    """The message of a queued job."""
    place = "The job is next in the queue." if position == 1 else f"The job is number {position} in the queue."
    return f"{place} {waiting_for}"


def eta_of(job: JobRecord) -> float | None:
    """Seconds until the last step of a running job; an estimate of an earlier attempt does not count."""
    return job.eta_s if job.status is JobStatus.RUNNING else None


def phase_of(job: JobRecord) -> Phase | None:
    """Current phase of a job's run, if it has one."""
    return Phase.LOADING if job.status is JobStatus.INITIALIZING else job.phase


def devices_of(attempt: AttemptRecord | None) -> dict[str, float | None]:
    """The devices that an attempt holds."""
    return {"cpus": attempt.cpus, "gpus": attempt.gpus} if attempt else {}


def is_scheduling(tx: Transaction, now: datetime) -> bool:
    """Whether a coordinator is running: it renews its lease at every tick."""
    lease = tx.leases.current(COORDINATOR)
    return lease is not None and lease.expires_at > now


def _head_waits_for(head: JobRecord, num_running: int, now: datetime, *, is_scheduling: bool) -> str:
    if not is_scheduling:
        return "The queue waits for the scheduler, which is starting or unavailable."
    if head.not_before is not None and head.not_before > now:
        return f"The first job in the queue is retried after {head.not_before:%H:%M:%S} UTC."
    if head.waiting_for:
        return f"First in the queue: {head.waiting_for}"
    if num_running:
        holders = "1 job holds" if num_running == 1 else f"{num_running} jobs hold"
        return f"The first job in the queue waits for devices that {holders}."
    return "The first job in the queue is about to start."

"""The queue in words: positions, and what each job waits for."""

from datetime import UTC, datetime

from ftlab.life import JobStatus
from ftlab.schemas import Queue, QueueEntry
from serve.services import Services
from tracking.store import Transaction
from tracking.store.leases import COORDINATOR
from tracking.store.records import JobRecord

MAX_ENTRIES = 1000
"""Jobs that the queue lists; the positions of later ones are in the jobs themselves."""


def read_queue(services: Services, owner: str) -> Queue:
    """The queue as `owner` may see it: positions count everybody's jobs, entries are the owner's own."""
    now = datetime.now(UTC)
    with services.store.read() as tx:
        running = tx.jobs.live()
        queued = tx.jobs.queued(MAX_ENTRIES)
        waiting_for = _head_waits_for(tx, queued[0], len(running), now) if queued else None
    return Queue(
        running=[job.id for job in running if job.owner == owner],
        queued=[
            QueueEntry(position=position, job_id=job.id, name=job.name, created_at=job.created_at)
            for position, job in enumerate(queued, start=1)
            if job.owner == owner
        ],
        waiting_for=waiting_for,
    )


def queued_message(tx: Transaction, job: JobRecord, position: int, now: datetime) -> str:
    """What a queued job waits for, in one sentence."""
    assert job.status is JobStatus.QUEUED
    if job.not_before is not None and job.not_before > now:
        return f"The job is tried again after {job.not_before:%H:%M:%S} UTC."
    if not is_scheduling(tx, now):
        return f"The job is number {position} in the queue; it waits for the scheduler to come back."
    if position == 1:
        return "The job is next in the queue; it waits for free devices."
    ahead = "1 job" if position == 2 else f"{position - 1} jobs"
    return f"The job is number {position} in the queue; it waits for {ahead} before it."


def is_scheduling(tx: Transaction, now: datetime) -> bool:
    """Whether a coordinator is at work: it renews its lease at every tick."""
    lease = tx.leases.current(COORDINATOR)
    return lease is not None and lease.expires_at > now


def _head_waits_for(tx: Transaction, head: JobRecord, num_running: int, now: datetime) -> str:
    if not is_scheduling(tx, now):
        return "The queue waits for the scheduler, which is starting or away."
    if head.not_before is not None and head.not_before > now:
        return f"The first job in the queue is tried again after {head.not_before:%H:%M:%S} UTC."
    if num_running:
        holders = "1 job holds" if num_running == 1 else f"{num_running} jobs hold"
        return f"The first job in the queue waits for devices that {holders}."
    return "The first job in the queue is about to start."

"""Snapshot of the queue and of the running jobs, which the scheduling policy reads."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cluster.coordinator.failed_jobs import contained
from cluster.coordinator.stop_requests import requested_stop
from cluster.coordinator.tick import Tick
from cluster.policy import QueuedJob, RunningJob, Share, Situation, Spot, WorkerShape
from ftlab.schemas import AnyJobConfig, BaseJobConfig
from ftlab.status import Phase
from tracking.store import Transaction
from tracking.store.quotas import effective_quota
from tracking.store.records import AttemptRecord, JobRecord, QuotaRecord

QUEUE_WINDOW = 100
"""About how many queued jobs a tick reads: the next ones of every owner."""
MAX_MORE_JOBS = 400
"""How many more it reads at most, so that jobs that cannot start do not hide those behind them."""


@dataclass(frozen=True)
class QueueSnapshot:
    """The first jobs of the queue, and everything that runs."""

    jobs: Mapping[str, JobRecord]
    """The queued jobs by id, also those whose config cannot be read."""
    queue: Sequence[QueuedJob]
    """The queued jobs whose config can be read, in queue order."""
    live: Mapping[str, tuple[JobRecord, AttemptRecord]]
    """The jobs with a live attempt, by id."""
    situation: Situation


@dataclass
class QueueWindow:
    """How many queued jobs a tick reads. Remembers what the last tick found."""

    num_owners: int = 1
    num_passed_over: int = 0
    """Jobs that cannot start, whichever devices are free."""

    @property
    def jobs_per_owner(self) -> int:
        more = min(self.num_passed_over, MAX_MORE_JOBS // self.num_owners)
        return max(1, QUEUE_WINDOW // self.num_owners) + more


def read_queue(tick: Tick, window: QueueWindow) -> QueueSnapshot | None:
    """Read everything in one transaction. `None` when no job waits."""
    now = tick.now
    with tick.store.read() as tx:
        queued = {job.id: job for job in tx.jobs.queue_heads(window.jobs_per_owner, now=now)}
        if not queued:
            return None
        owners = {job.owner for job in queued.values()}
        window.num_owners = len(owners)
        queue = [
            _queued_job(tick, tx, job, job.config) for job in queued.values() if isinstance(job.config, BaseJobConfig)
        ]
        jobs = {job.id: job for job in tx.jobs.live()}
        attempts = tx.attempts.live()
        live = {attempt.job_id: (jobs[attempt.job_id], attempt) for attempt in attempts if attempt.job_id in jobs}
        highest = max((job.priority for job in queue), default=0)
        running = tuple(_running_job(tick, tx, job, attempt, highest) for job, attempt in live.values())
        shares = _shares(tick, tx, owners | {job.owner for job in jobs.values()})
    return QueueSnapshot(queued, queue, live, Situation(now, running, shares, tick.rules))


def held_shape(attempt: AttemptRecord, num_workers: int) -> WorkerShape:
    """What each worker of a live attempt holds."""
    return WorkerShape(num_workers, attempt.cpus // num_workers, attempt.gpus / num_workers)


def _queued_job(tick: Tick, tx: Transaction, job: JobRecord, config: AnyJobConfig) -> QueuedJob:
    return QueuedJob(
        id=job.id,
        owner=job.owner,
        config=config,
        priority=job.priority,
        is_in_front=job.queue_shift < 0,
        has_run=job.attempt > 0,
        longest_s=_longest_s(tick, tx, job),
    )


def _running_job(tick: Tick, tx: Transaction, job: JobRecord, attempt: AttemptRecord, highest: int) -> RunningJob:
    """`highest` is the highest priority in the queue."""
    config = job.config if isinstance(job.config, BaseJobConfig) else None
    # When the newest checkpoint was made matters only where another job could take this one's devices.
    checkpoints = tx.checkpoints.of_job(job.id) if config and config.preemptible and job.priority < highest else []
    return RunningJob(
        id=job.id,
        attempt=attempt.number,
        owner=job.owner,
        shape=held_shape(attempt, config.resources.num_workers if config else 1),
        started_at=attempt.created_at,
        priority=job.priority,
        placement=tuple(Spot(*spot) for spot in attempt.placement),
        preemptible=config is not None and config.preemptible,
        remaining_s=_longest_s(tick, tx, job, attempt),
        last_checkpoint_at=checkpoints[0].created_at if checkpoints else None,
        is_stopping=requested_stop(job) is not None,
        is_idle=job.phase is Phase.IDLE,
    )


def _longest_s(tick: Tick, tx: Transaction, job: JobRecord, live: AttemptRecord | None = None) -> float | None:
    """As `RunLimits.longest_s`; unknown where it cannot be computed."""
    with contained(tick, "given its limits", job.id):
        return tick.limits.longest_s(tx, job, tick.now, live)
    return None


def _shares(tick: Tick, tx: Transaction, owners: Collection[str]) -> dict[str, Share]:
    used, quotas = tx.usage.all(now=tick.now), tx.quotas.all()
    shares = {}
    for owner in sorted(owners):
        quota = effective_quota(quotas.get(owner) or QuotaRecord(owner), tick.settings)
        weight = 1.0 if quota.weight is None else quota.weight
        shares[owner] = Share(used.get(owner, 0.0), weight, quota.max_running_gpus, quota.max_running_cpus)
    return shares

"""What the policy looks at, gathered from the record."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cluster.coordinator.stop_requests import wanted_stop
from cluster.policy import QueuedJob, Rules, RunningJob, Share, Situation, Spot, WorkerShape
from cluster.runs.time_limits import TimeLimits
from ftlab.schemas import JobConfig
from ftlab.settings import Settings
from tracking.store import Store, Transaction
from tracking.store.quotas import effective_quota
from tracking.store.records import AttemptRecord, JobRecord, QuotaRecord, UnreadableConfig

QUEUE_WINDOW = 100
"""About so many jobs are looked at in one tick: those of every owner that are next."""
MAX_PASSED_OVER = 400
"""So many more at most, for jobs that wait for their data and must not hide those behind them."""


@dataclass(frozen=True)
class Scene:
    """The first jobs of the queue, and everything that runs."""

    records: Mapping[str, JobRecord]
    """Of the queue."""
    queue: Sequence[QueuedJob]
    unreadable: Sequence[tuple[JobRecord, UnreadableConfig]]
    """Queued jobs whose config cannot be read."""
    live: Mapping[str, tuple[JobRecord, AttemptRecord]]
    """By job, without those whose attempt has ended."""
    situation: Situation


class SceneReader:
    """Reads the scene in one transaction."""

    def __init__(self, store: Store, settings: Settings, limits: TimeLimits, rules: Rules) -> None:
        self._store = store
        self._settings = settings
        self._limits = limits
        self._rules = rules
        self._num_owners = 1

    def read(self, now: datetime, num_passed_over: int = 0) -> Scene | None:
        """`None` when nobody waits. `num_passed_over` jobs of the last look could not start, whatever is free."""
        more = min(num_passed_over, MAX_PASSED_OVER // self._num_owners)
        per_owner = max(1, QUEUE_WINDOW // self._num_owners) + more
        with self._store.read() as tx:
            records = {job.id: job for job in tx.jobs.queue_heads(per_owner, now=now)}
            if not records:
                return None
            owners = {job.owner for job in records.values()}
            self._num_owners = len(owners)
            queue = [
                self._queued(tx, job, job.config, now) for job in records.values() if isinstance(job.config, JobConfig)
            ]
            jobs = {job.id: job for job in tx.jobs.live()}
            attempts = tx.attempts.live()
            live = {attempt.job_id: (jobs[attempt.job_id], attempt) for attempt in attempts if attempt.job_id in jobs}
            highest = max((job.priority for job in queue), default=0)
            running = [self._running(tx, job, attempt, now, highest) for job, attempt in live.values()]
            shares = self._shares(tx, owners | {job.owner for job in jobs.values()}, now)
        unreadable = [(job, job.config) for job in records.values() if isinstance(job.config, UnreadableConfig)]
        return Scene(records, queue, unreadable, live, Situation(now, tuple(running), shares, self._rules))

    def _queued(self, tx: Transaction, job: JobRecord, config: JobConfig, now: datetime) -> QueuedJob:
        return QueuedJob(
            id=job.id,
            owner=job.owner,
            config=config,
            priority=job.priority,
            is_in_front=job.queue_shift < 0,
            has_run=job.attempt > 0,
            longest_s=self._limits.longest_s(tx, job, now),
        )

    def _running(
        self, tx: Transaction, job: JobRecord, attempt: AttemptRecord, now: datetime, highest: int
    ) -> RunningJob:
        config = job.config if isinstance(job.config, JobConfig) else None
        # When the newest checkpoint was made matters only where somebody could take the job's devices.
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
            remaining_s=self._limits.longest_s(tx, job, now, attempt),
            last_checkpoint_at=checkpoints[0].created_at if checkpoints else None,
            is_stopping=wanted_stop(job) is not None,
        )

    def _shares(self, tx: Transaction, owners: Collection[str], now: datetime) -> dict[str, Share]:
        used, quotas = tx.usage.all(now=now), tx.quotas.all()
        shares = {}
        for owner in sorted(owners):
            quota = effective_quota(quotas.get(owner) or QuotaRecord(owner), self._settings)
            weight = 1.0 if quota.weight is None else quota.weight
            shares[owner] = Share(used.get(owner, 0.0), weight, quota.max_running_gpus, quota.max_running_cpus)
        return shares


def held_shape(attempt: AttemptRecord, num_workers: int) -> WorkerShape:
    """What each worker of a live attempt holds."""
    return WorkerShape(num_workers, attempt.cpus // num_workers, attempt.gpus / num_workers)

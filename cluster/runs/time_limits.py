"""Total run time of a job's attempts, and the time when they must have ended."""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

from ftlab.schemas import BaseJobConfig
from tracking.store import Transaction
from tracking.store.records import AttemptRecord, JobRecord, JobRef

SAVE_GRACE_S = 300.0
"""Seconds that a run gets to save and stop when the stop is not urgent: a step and a save may be long. A run that hangs
meanwhile is ended by its driver's watchdog.
"""
MAX_SUMS = 1000


def lasted_s(attempts: Iterable[AttemptRecord], now: datetime) -> float:
    """Seconds that the attempts have lasted together, from the claim of each to its end."""
    return sum(((attempt.ended_at or now) - attempt.created_at).total_seconds() for attempt in attempts)


def time_limit_s(job: JobRecord) -> int | None:
    """The limit for all its attempts together; `None` without one, and for a config that cannot be read."""
    return job.config.time_limit_s if isinstance(job.config, BaseJobConfig) else None


class TimeLimits:
    """Remaining time of each job under its `time_limit_s`. Attempts that have ended are summed up once."""

    def __init__(self) -> None:
        self._sums: OrderedDict[JobRef, float] = OrderedDict()

    def left_s(self, tx: Transaction, job: JobRecord, now: datetime, live: AttemptRecord | None = None) -> float | None:
        """Seconds that the job may still train; negative when it is exceeded, `None` without a limit."""
        limit_s = time_limit_s(job)
        if limit_s is None:
            return None
        before_s = 0.0 if job.attempt == 0 else self._ended_s(tx, job, now, live)
        running_s = 0.0 if live is None else lasted_s([live], now)
        return limit_s - before_s - running_s

    def longest_s(
        self, tx: Transaction, job: JobRecord, now: datetime, live: AttemptRecord | None = None
    ) -> float | None:
        """Seconds after which the job's run is guaranteed to have released its devices; `None` without a limit."""
        left_s = self.left_s(tx, job, now, live)
        return None if left_s is None else max(0.0, left_s) + SAVE_GRACE_S

    def _ended_s(self, tx: Transaction, job: JobRecord, now: datetime, live: AttemptRecord | None) -> float:
        last = job.attempt if live is None else live.number - 1
        ref = JobRef(job.id, last)
        if ref in self._sums:
            return self._sums[ref]
        attempts = [attempt for attempt in tx.attempts.of_job(job.id) if attempt.number <= last]
        total_s = lasted_s(attempts, now)
        if all(attempt.ended_at for attempt in attempts):
            self._sums[ref] = total_s
            if len(self._sums) > MAX_SUMS:
                self._sums.popitem(last=False)
        return total_s

"""The limits of a job, its time and its cost, and the time when its attempts must have ended."""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from cluster.policy import Fleet, shape_of
from ftlab.schemas import BaseJobConfig, Resources
from ftlab.settings import Settings
from ftlab.status import StopKind
from tracking.costs import KWH, NO_POWER, cost_so_far, held_devices, rate_of, seconds_for
from tracking.energy import PowerMeter
from tracking.store import Transaction
from tracking.store.records import AttemptRecord, JobRecord, JobRef
from tracking.store.sweeps import TrialRecord

SAVE_GRACE_S = 300.0
"""Seconds that a run gets to save and stop when the stop is not urgent: a step and a save may be long. A run that hangs
meanwhile is ended by its driver's watchdog.
"""
MAX_SUMS = 1000


@dataclass(frozen=True)
class Limit:
    """A limit of a job, as time."""

    kind: StopKind
    """`TIME_LIMIT` or `COST_LIMIT`."""
    left_s: float
    """Seconds that the job may still train on the devices that it holds; 0 or less once the limit is used up."""


def lasted_s(attempts: Iterable[AttemptRecord], now: datetime) -> float:
    """Seconds that the attempts have lasted together, from the claim of each to its end.

    One during which the clock was set back beyond its beginning lasted no time.
    """
    return sum(max(0.0, ((each.ended_at or now) - each.created_at).total_seconds()) for each in attempts)


def has_limit(job: JobRecord) -> bool:
    """Whether the job has a limit of time or cost; false for a config that cannot be read."""
    return (time_limit_s(job), max_cost(job)) != (None, None)


def time_limit_s(job: JobRecord) -> int | None:
    """The time for all its attempts together; `None` without a limit, and for a config that cannot be read."""
    return job.config.time_limit_s if isinstance(job.config, BaseJobConfig) else None


def max_cost(job: JobRecord) -> Decimal | None:
    """What all its attempts may cost together; `None` without a limit, and for a config that cannot be read."""
    return job.config.max_cost if isinstance(job.config, BaseJobConfig) else None


def spent_by(
    tx: Transaction, settings: Settings, job_ids: Collection[str], now: datetime, meter: PowerMeter | None = None
) -> tuple[Decimal, Decimal]:
    """What jobs have cost together so far, and what they cost an hour now, in the service's currency.

    Without `meter`, the electricity of an attempt counts when it has ended.
    """
    records = [record for found in tx.costs.of_jobs(job_ids).values() for record in found]
    amounts = [each.amount for each in records if each.amount is not None and each.currency == settings.currency]
    pending = tx.attempts.without_cost_record(job_ids)
    return cost_so_far(settings, amounts, pending, now, meter.watts(tx, pending, now) if meter else NO_POWER)


def trials_run_time_s(tx: Transaction, trials: Iterable[TrialRecord], now: datetime) -> float:
    """Seconds that the jobs of a sweep's trials have run together, also those of jobs that were deleted."""
    trials = list(trials)
    ended = sum(trial.run_time_s or 0.0 for trial in trials if not trial.is_open)
    still = [trial.job_id for trial in trials if trial.is_open and trial.job_id is not None]
    return ended + sum(tx.attempts.run_times(still, now=now).values())


def is_priced(settings: Settings, resources: Resources, fleet: Fleet | None) -> bool:
    """Whether a job with these resources costs something on every type of device that it may get.

    Without a fleet, whether any device has a price.
    """
    if fleet is None or not fleet.nodes:
        return any(price for device, price in settings.prices.items() if device != KWH)
    total = shape_of(resources, fleet).total
    types = {node.gpu_type for node in fleet.nodes if node.gpus} if total.gpus else {None}
    by_type = [{gpu_type: total.gpus} if gpu_type is not None else {} for gpu_type in types]
    return all(rate_of(settings, held_devices(total.cpus, total.gpus, gpu_types)) for gpu_types in by_type)


class RunLimits:
    """What is left to each job of its `time_limit_s` and its `max_cost`. Times of ended attempts are summed up once."""

    def __init__(self, settings: Settings) -> None:
        self.meter = PowerMeter(settings)
        self._settings = settings
        self._sums: OrderedDict[JobRef, float] = OrderedDict()

    def nearest(
        self, tx: Transaction, job: JobRecord, now: datetime, live: AttemptRecord | None = None
    ) -> Limit | None:
        """The limit that is used up first; `None` without one.

        A cost becomes a time by the price of the devices that the job holds: without any, it is a limit only once it is
        used up.
        """
        limits = (self._of_time(tx, job, now, live), self._of_cost(tx, job, now, live))
        return min((limit for limit in limits if limit is not None), key=lambda limit: limit.left_s, default=None)

    def used_up(self, tx: Transaction, job: JobRecord, now: datetime) -> StopKind | None:
        """The limit that a job without a live attempt has used up."""
        nearest = self.nearest(tx, job, now)
        return nearest.kind if nearest is not None and nearest.left_s <= 0 else None

    def longest_s(
        self, tx: Transaction, job: JobRecord, now: datetime, live: AttemptRecord | None = None
    ) -> float | None:
        """Seconds after which the job's run is guaranteed to have released its devices; `None` without a limit."""
        nearest = self.nearest(tx, job, now, live)
        return None if nearest is None else max(0.0, nearest.left_s) + SAVE_GRACE_S

    def _of_time(self, tx: Transaction, job: JobRecord, now: datetime, live: AttemptRecord | None) -> Limit | None:
        limit_s = time_limit_s(job)
        if limit_s is None:
            return None
        before_s = 0.0 if job.attempt == 0 else self._ended_s(tx, job, now, live)
        running_s = 0.0 if live is None else lasted_s([live], now)
        return Limit(StopKind.TIME_LIMIT, limit_s - before_s - running_s)

    def _of_cost(self, tx: Transaction, job: JobRecord, now: datetime, live: AttemptRecord | None) -> Limit | None:
        most = max_cost(job)
        if most is None or (job.attempt == 0 and live is None):
            return None
        amount, rate = spent_by(tx, self._settings, [job.id], now, self.meter)
        if amount >= most:
            return Limit(StopKind.COST_LIMIT, 0.0)
        return Limit(StopKind.COST_LIMIT, seconds_for(most - amount, rate)) if rate else None

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

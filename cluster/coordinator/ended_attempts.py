"""Ended attempts: their device time is counted, their job moves on, and what their run left behind is removed."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from cluster.coordinator.failed_jobs import contained, fail_unreadable, notices_of
from cluster.coordinator.recoveries import try_recovery
from cluster.coordinator.stop_requests import requested_stop
from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import move_job
from cluster.machine.orphans import sweep_job
from cluster.policy import Devices
from cluster.policy.retry import (
    LIMITS,
    STOP_REASONS,
    GiveUp,
    Retry,
    Stopped,
    after_attempt,
    after_stop,
    limit_is_used_up,
)
from cluster.runs.model_location import job_folder
from cluster.runs.run_limits import has_limit, lasted_s, max_cost, spent_by
from ftlab.formatting import money
from ftlab.schemas import NoticePayload
from ftlab.schemas.events import COST_LIMIT_REACHED
from ftlab.status import JobStatus, ReasonCode, StopKind
from tracking.costs import KWH, record_of
from tracking.energy import energy_kwh
from tracking.store import Transaction
from tracking.store.records import AttemptRecord, JobRecord, JobRef, NewEvent, UnreadableConfig
from tracking.store.totals import totals_of

MEASURED_AFTER = timedelta(seconds=5)
"""How long after its end the samples of an attempt are all in the database."""
ORPHAN_GRACE_S = 5.0
"""Seconds that a run which has just delivered gets to exit by itself."""


def count_device_usage(tick: Tick) -> None:
    """Add the device time of ended attempts to their owners' usage, as of their end, and record what they cost.

    Each is counted once, whenever it ended and whichever coordinator lived then.
    """
    uncounted = [attempt for attempt in tick.uncounted if not _is_measured_still(tick, attempt)]
    if not uncounted:
        return
    fleet = tick.cluster.fleet()
    for attempt in uncounted:
        with contained(tick, "charged for its devices", attempt.job_id), tick.store.begin() as tx:
            if tx.attempts.count(JobRef(attempt.job_id, attempt.number), now=tick.now):
                devices = fleet.weigh(Devices(attempt.cpus, attempt.gpus))
                device_s = devices * lasted_s([attempt], tick.now)
                job = tx.jobs.get(attempt.job_id)
                tx.usage.add(job.owner, device_s, now=attempt.ended_at or tick.now)
                tx.totals.add(totals_of(attempt, job))
                tx.costs.add(record_of(tick.settings, job, attempt, _energy_kwh(tx, attempt)))


def _is_measured_still(tick: Tick, attempt: AttemptRecord) -> bool:
    """Whether the last samples of its power may not be written yet, and are paid."""
    is_paid = attempt.gpus > 0 and KWH in tick.settings.prices
    return is_paid and attempt.ended_at is not None and _is_within(tick, attempt.ended_at, MEASURED_AFTER)


def _is_within(tick: Tick, ended_at: datetime, grace: timedelta) -> bool:
    """Whether the grace time after an end still runs; not where the clock was set back to before that end."""
    return -grace < tick.now - ended_at <= grace


def _energy_kwh(tx: Transaction, attempt: AttemptRecord) -> Decimal | None:
    if not attempt.gpus:
        return None
    return energy_kwh(attempt, tx.telemetry.of_job(attempt.job_id, after=attempt.created_at, until=attempt.ended_at))


def settle_jobs(tick: Tick) -> None:
    """Decide what follows for each job that had been chosen and whose attempt has ended."""
    if not tick.jobs:
        return
    with tick.store.read() as tx:
        # Some have ended during this tick.
        live = {attempt.job_id for attempt in tx.attempts.live()}
        ended = [(job, tx.attempts.get(job.ref)) for job in tx.jobs.live() if job.id not in live]
    for job, attempt in ended:
        with contained(tick, "settled after its run had ended", job):
            tick.cluster.release(attempt.placement_groups)
            if not attempt.placement_groups:
                # It never had a process, so no later step sweeps up after it: what an earlier attempt left goes now.
                sweep_job(job_folder(tick.settings, job.id))
            _settle(tick, job, attempt)


def release_ended(tick: Tick) -> None:
    """Release what ended attempts still hold, and sweep up after them."""
    live = {attempt.job_id for attempt in tick.attempts}
    for attempt in tick.unreleased:
        if attempt.ended_at is None or _is_within(tick, attempt.ended_at, timedelta(seconds=ORPHAN_GRACE_S)):
            continue
        with contained(tick, "released from its devices", attempt.job_id):
            tick.cluster.release(attempt.placement_groups)
            if attempt.job_id not in live:
                # A run that was killed in a checkpoint leaves half of it, and the job may never run again.
                sweep_job(job_folder(tick.settings, attempt.job_id))
            with tick.store.begin() as tx:
                tx.attempts.released(JobRef(attempt.job_id, attempt.number))


class OrphanedDrivers:
    """Remembers since when run drivers have had no live attempt."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}

    def end(self, tick: Tick) -> None:
        """End the drivers that have ended their run, or have had no live attempt for a while; not standby ones."""
        names = tick.drivers.names - tick.attempt_drivers
        self._since = {name: self._since.get(name, tick.now) for name in names}
        for name, since in self._since.items():
            state = tick.drivers.state(name)
            is_due = tick.now - since > timedelta(seconds=ORPHAN_GRACE_S)
            if state == "ended" or (state == "taken" and is_due):
                tick.drivers.end(name)


def _settle(tick: Tick, job: JobRecord, attempt: AttemptRecord) -> None:
    reason = attempt.reason or ReasonCode.INTERNAL_ERROR
    message = attempt.message or ""
    stop = requested_stop(job)
    if stop is None and reason is ReasonCode.OK and job.has_new_files:
        stop = StopKind.EXTEND  # it has trained all files that it knew of
    if stop is StopKind.CANCEL:
        move_job(tick, job, JobStatus.CANCELLED, reason=ReasonCode.USER_CANCELLED)
        return
    notices = notices_of(tick, job, attempt)
    if stop is not None:
        _settle_stopped(tick, job, stop, reason, message, notices)
    else:
        _settle_ended(tick, job, reason, message, notices)


def _settle_stopped(
    tick: Tick, job: JobRecord, stop: StopKind, reason: ReasonCode, message: str, notices: Sequence[NewEvent]
) -> None:
    match after_stop(stop, reason, message, step=job.step, saved_step=_saved_step(tick, job), job_kind=job.kind):
        case GiveUp(reason, message):
            move_job(tick, job, JobStatus.FAILED, reason=reason, message=message, notices=notices)
        case Stopped(status, message, stop_reason, to_front):
            notices = [*notices, *_cost_notice(tick, job, stop_reason)]
            move_job(tick, job, status, reason=stop_reason, message=message, to_front=to_front, notices=notices)


def _settle_ended(tick: Tick, job: JobRecord, reason: ReasonCode, message: str, notices: Sequence[NewEvent]) -> None:
    config = job.config
    if isinstance(config, UnreadableConfig):
        fail_unreadable(tick, job, config)
        return
    follows = after_attempt(
        reason, message, retries_used=job.retries_used, max_retries=config.max_retries, now=tick.now
    )
    limit = LIMITS.get(reason) or _used_up_limit(tick, job)
    if limit is not None and (reason in LIMITS or isinstance(follows, Retry)):
        message, limit_reason = limit_is_used_up(limit, _saved_step(tick, job), job.kind), STOP_REASONS[limit]
        notices = [*notices, *_cost_notice(tick, job, limit_reason)]
        move_job(tick, job, JobStatus.FAILED, reason=limit_reason, message=message, notices=notices)
    elif isinstance(follows, GiveUp):
        recoverable = None if limit is not None else job.training_config
        if recoverable is not None and try_recovery(tick, job, recoverable, reason, message, notices):
            return
        move_job(tick, job, JobStatus.FAILED, reason=follows.reason, message=follows.message, notices=notices)
    else:
        move_job(
            tick,
            job,
            JobStatus.QUEUED,
            message=f"Queued again after {reason.value}: {message}",
            to_front=reason is ReasonCode.PREEMPTED,
            notices=notices,
            retries_used=follows.retries_used,
            not_before=follows.not_before,
        )


def _used_up_limit(tick: Tick, job: JobRecord) -> StopKind | None:
    if not has_limit(job):
        return None
    with tick.store.read() as tx:
        return tick.limits.used_up(tx, job, tick.now)


def _cost_notice(tick: Tick, job: JobRecord, reason: ReasonCode | None) -> list[NewEvent]:
    """The notice about what a job cost whose `max_cost` is used up; none for one that ends for another reason."""
    most = max_cost(job)
    if reason is not ReasonCode.COST_LIMIT or most is None:
        return []
    with tick.store.read() as tx:
        amount, _ = spent_by(tx, tick.settings, [job.id], tick.now, tick.limits.meter)
    currency = tick.settings.currency
    text = f"The job cost {money(amount, currency)} so far, and its max_cost is {money(most, currency)}."
    return [NewEvent(NoticePayload(code=COST_LIMIT_REACHED, message=text), tick.now)]


def _saved_step(tick: Tick, job: JobRecord) -> int | None:
    with tick.store.read() as tx:
        checkpoints = tx.checkpoints.of_job(job.id)
    return checkpoints[0].step if checkpoints else None

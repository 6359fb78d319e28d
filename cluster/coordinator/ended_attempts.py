"""What follows for jobs whose attempt has ended, and what their runs have left behind."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cluster.coordinator.drivers import Roster
from cluster.coordinator.ray_backend import Cluster
from cluster.coordinator.stop_requests import wanted_stop
from cluster.coordinator.transitions import Moves
from cluster.machine.orphans import sweep_job
from cluster.policy.retry import GiveUp, Rest, Retry, after_attempt, after_stop, time_is_up
from cluster.runs.make_plan import job_folder
from cluster.runs.time_limits import TimeLimits
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode, StopKind
from tracking.store import Store
from tracking.store.records import AttemptRecord, JobRecord, JobRef, UnreadableConfig

ORPHAN_GRACE_S = 5.0


class Settling:
    def __init__(
        self, store: Store, cluster: Cluster, settings: Settings, roster: Roster, moves: Moves, limits: TimeLimits
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._settings = settings
        self._roster = roster
        self._moves = moves
        self._limits = limits
        self._orphan_since: dict[str, datetime] = {}

    def settle(self, now: datetime) -> None:
        """Decide what follows for jobs that have been chosen and whose attempt has ended."""
        with self._store.read() as tx:
            live = {attempt.job_id for attempt in tx.attempts.live()}
            ended = [(job, tx.attempts.get(job.ref)) for job in tx.jobs.live() if job.id not in live]
        for job, attempt in ended:
            self._cluster.release(attempt.placement_groups)
            if not attempt.placement_groups:
                # It never had a process, and nobody looks after it any more: what an attempt before it left goes now.
                sweep_job(job_folder(self._settings, job.id))
            self._settle(job, attempt, now)

    def end_orphans(self, live: Sequence[AttemptRecord], unreleased: Sequence[AttemptRecord], now: datetime) -> None:
        """End run drivers that no live attempt owns, give back what ended attempts held, and sweep up after them.

        A run that has just delivered gets a moment to end by itself.
        """
        grace = timedelta(seconds=ORPHAN_GRACE_S)
        owned = {attempt.driver for attempt in live}
        busy = {attempt.job_id for attempt in live}
        self._orphan_since = {name: self._orphan_since.get(name, now) for name in self._roster.names - owned}
        for name, since in self._orphan_since.items():
            state = self._roster.state(name)
            if state == "ended" or (state == "taken" and now - since > grace):
                self._roster.end(name)
        for attempt in unreleased:
            if attempt.ended_at is not None and now - attempt.ended_at > grace:
                self._cluster.release(attempt.placement_groups)
                if attempt.job_id not in busy:
                    # A run that was killed in a checkpoint leaves half of it, and the job may never run again.
                    sweep_job(job_folder(self._settings, attempt.job_id))
                with self._store.begin() as tx:
                    tx.attempts.released(JobRef(attempt.job_id, attempt.number))

    def _settle(self, job: JobRecord, attempt: AttemptRecord, now: datetime) -> None:
        reason = attempt.reason or ReasonCode.INTERNAL_ERROR
        message = attempt.message or ""
        stop = wanted_stop(job)
        if stop is None and reason is ReasonCode.OK and job.has_new_files:
            stop = StopKind.EXTEND  # it has trained what it knew of
        if stop is StopKind.CANCEL:
            self._moves.move(job, JobStatus.CANCELLED, now, reason=ReasonCode.USER_CANCELLED)
        elif stop is not None:
            self._settle_stopped(job, stop, reason, message, now)
        else:
            self._settle_ended(job, reason, message, now)

    def _settle_stopped(self, job: JobRecord, stop: StopKind, reason: ReasonCode, message: str, now: datetime) -> None:
        saved_step = self._saved_step(job)
        match after_stop(stop, reason, message, step=job.step, saved_step=saved_step):
            case GiveUp() as given_up:
                self._moves.move(job, JobStatus.FAILED, now, reason=given_up.reason, message=given_up.message)
            case Rest() as rest:
                self._moves.move(
                    job, rest.status, now, reason=rest.reason, message=rest.message, to_front=rest.to_front
                )

    def _settle_ended(self, job: JobRecord, reason: ReasonCode, message: str, now: datetime) -> None:
        config = job.config
        if isinstance(config, UnreadableConfig):
            self._moves.fail_unreadable(job, config, now)
            return
        verdict = after_attempt(reason, message, retries_used=job.retries_used, max_retries=config.max_retries, now=now)
        if reason is ReasonCode.TIME_LIMIT or (isinstance(verdict, Retry) and self._is_time_up(job, now)):
            message = time_is_up(self._saved_step(job))
            self._moves.move(job, JobStatus.FAILED, now, reason=ReasonCode.TIME_LIMIT, message=message)
        elif isinstance(verdict, GiveUp):
            self._moves.move(job, JobStatus.FAILED, now, reason=verdict.reason, message=verdict.message)
        else:
            self._moves.move(
                job,
                JobStatus.QUEUED,
                now,
                message=f"Queued again after {reason.value}: {message}",
                to_front=reason is ReasonCode.PREEMPTED,
                retries_used=verdict.retries_used,
                not_before=verdict.not_before,
            )

    def _is_time_up(self, job: JobRecord, now: datetime) -> bool:
        with self._store.read() as tx:
            left_s = self._limits.left_s(tx, job, now)
        return left_s is not None and left_s <= 0

    def _saved_step(self, job: JobRecord) -> int | None:
        with self._store.read() as tx:
            checkpoints = tx.checkpoints.of_job(job.id)
        return checkpoints[0].step if checkpoints else None

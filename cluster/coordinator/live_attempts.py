"""Live attempts: each must have its driver, hear of stop requests, and write heartbeats."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cluster.coordinator.data_gate import DataStage
from cluster.coordinator.drivers import Roster
from cluster.coordinator.queue_snapshot import held_shape
from cluster.coordinator.ray_backend import Cluster, DriverLostError
from cluster.coordinator.stop_requests import HEARTBEAT_TIMEOUT_S, Stopping, wanted_stop
from cluster.coordinator.transitions import Moves
from cluster.runs.make_plan import make_plan
from cluster.runs.time_limits import TimeLimits, time_limit_s
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode, StopKind
from tracking.store import Store
from tracking.store.records import AttemptRecord, JobRecord, JobRef

NODES_INTERVAL_S = 2.0
"""The machines are looked at so often while something runs."""

logger = logging.getLogger(__name__)


class Tending:
    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        settings: Settings,
        roster: Roster,
        moves: Moves,
        stopping: Stopping,
        limits: TimeLimits,
        data: DataStage,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._settings = settings
        self._roster = roster
        self._moves = moves
        self._stopping = stopping
        self._limits = limits
        self._data = data
        self._silent_since: dict[str, datetime] = {}
        self._nodes: frozenset[str] = frozenset()
        self._saw_nodes_at = datetime.min.replace(tzinfo=UTC)

    def tend(
        self,
        attempts: Sequence[AttemptRecord],
        jobs: Sequence[JobRecord],
        now: datetime,
        *,
        is_new_session: bool,
        is_draining: bool,
    ) -> None:
        """Look after every attempt that the database calls live."""
        if is_draining:
            self._stopping.hurry()
        by_id = {job.id: job for job in jobs}
        due = self._data.let_take_in([job for job in jobs if job.has_new_files and wanted_stop(job) is None], now)
        for attempt in attempts:
            job = by_id.get(attempt.job_id)
            if attempt.driver not in self._roster.names:
                reason, why = self._why_lost(attempt, job, is_new_session=is_new_session)
                self._moves.end_attempt(attempt, reason, why, now)
            elif job is None or job.attempt != attempt.number:
                why = "The job moved on without this attempt."
                self._moves.end_attempt(attempt, ReasonCode.INTERNAL_ERROR, why, now)
            elif self._has_lost_a_machine(attempt, now):
                self._moves.end_attempt(attempt, ReasonCode.NODE_LOST, "A machine that the run was given is gone.", now)
            elif kind := self._due_stop(job, attempt, now, is_draining=is_draining, extends=job.id in due):
                self._stopping.ask(job, attempt, kind, _REQUESTS[kind], now)
            elif (kind := wanted_stop(job)) is not None:
                self._stopping.carry(attempt, kind, now)
            elif now - attempt.heartbeat_at > timedelta(seconds=HEARTBEAT_TIMEOUT_S):
                self._revive(attempt, job, now)
            else:
                self._silent_since.pop(attempt.driver, None)
        self._stopping.forget_except({JobRef(attempt.job_id, attempt.number) for attempt in attempts})

    def _due_stop(
        self, job: JobRecord, attempt: AttemptRecord, now: datetime, *, is_draining: bool, extends: bool
    ) -> StopKind | None:
        """A stop that the service itself has to ask for, and that is more urgent than the one asked for so far."""
        kind = StopKind.DRAIN if is_draining else StopKind.EXTEND if extends else None
        if time_limit_s(job) is not None:
            with self._store.read() as tx:
                left_s = self._limits.left_s(tx, job, now, attempt)
            if left_s is not None and left_s <= 0:
                kind = StopKind.TIME_LIMIT
        held = wanted_stop(job)
        is_news = kind is not None and (held is None or held.urgency < kind.urgency)
        return kind if is_news else None

    def _has_lost_a_machine(self, attempt: AttemptRecord, now: datetime) -> bool:
        """A run that waits for a machine that has left would wait for ever, and one that trains there is cut off."""
        if now - self._saw_nodes_at > timedelta(seconds=NODES_INTERVAL_S):
            self._nodes = frozenset(node.id for node in self._cluster.fleet().nodes)
            self._saw_nodes_at = now
        # A run that is younger than the look may be on a machine that has just come.
        is_older = attempt.created_at < self._saw_nodes_at
        return is_older and any(node not in self._nodes for node, _ in attempt.placement)

    def _why_lost(
        self, attempt: AttemptRecord, job: JobRecord | None, *, is_new_session: bool
    ) -> tuple[ReasonCode, str]:
        if is_new_session:
            return ReasonCode.SERVICE_RESTARTED, "The service was restarted."
        is_silent = job is not None and job.status is JobStatus.PENDING and attempt.heartbeat_at == attempt.created_at
        if is_silent and not self._roster.was_launched_here(attempt.driver):
            return ReasonCode.SERVICE_RESTARTED, "The scheduler was restarted before it had started the run."
        return ReasonCode.WORKER_CRASHED, "The run's driver process ended without a word."

    def _revive(self, attempt: AttemptRecord, job: JobRecord, now: datetime) -> None:
        """The driver writes nothing: it may never have got its plan, or it hangs, or the database was away.

        It is asked, and ended when it does not answer or has been silent for as long again.
        """
        since = self._silent_since.setdefault(attempt.driver, now)
        try:
            patient = now - since < timedelta(seconds=HEARTBEAT_TIMEOUT_S)
            state = self._cluster.state(attempt.driver)
            if patient and (state == "taken" or (state != "ended" and self._hand_over_again(attempt, job, now))):
                return
        except DriverLostError as error:
            logger.warning("%s", error)
        self._silent_since.pop(attempt.driver, None)
        why = "The run's driver process does not answer."
        self._moves.end_attempt(attempt, ReasonCode.WORKER_CRASHED, why, now)

    def _hand_over_again(self, attempt: AttemptRecord, job: JobRecord, now: datetime) -> bool:
        with self._store.read() as tx:
            plan = make_plan(tx, self._settings, job, attempt, now)
        return self._cluster.assign(attempt.driver, plan, held_shape(attempt, plan.config.resources.num_workers))


_REQUESTS = {
    StopKind.EXTEND: "The job saves a checkpoint and goes on with the files that were appended.",
    StopKind.DRAIN: "The service is about to stop; the job saves a checkpoint and goes back to the queue.",
    StopKind.TIME_LIMIT: "The job's time limit is used up; it saves a checkpoint and ends.",
}

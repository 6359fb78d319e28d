"""Live attempts: each must have its driver and its machines, write heartbeats, and stop when it is requested to."""

import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from cluster.coordinator.failed_jobs import contained
from cluster.coordinator.queue_snapshot import held_shape
from cluster.coordinator.ray_backend import DriverLostError
from cluster.coordinator.stop_requests import HEARTBEAT_TIMEOUT_S, StopRequests, requested_stop
from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import end_attempt
from cluster.runs.make_plan import make_plan
from cluster.runs.run_limits import has_limit
from ftlab.status import JobStatus, ReasonCode, StopKind
from tracking.store.records import AttemptRecord, JobRecord

NODES_INTERVAL_S = 2.0
"""How often the machines are listed while something runs."""
STOP_MESSAGES = {
    StopKind.EXTEND: "The job saves a checkpoint and continues with the files that were appended.",
    StopKind.DRAIN: "The service is about to stop; the job saves a checkpoint and returns to the queue.",
    StopKind.TIME_LIMIT: "The job's time limit is used up; it saves a checkpoint and ends.",
    StopKind.COST_LIMIT: "The job's max_cost is used up; it saves a checkpoint and ends.",
}

logger = logging.getLogger(__name__)


class LiveAttempts:
    """Checks the live attempts. Remembers since when drivers have been silent, and the machines of the last list."""

    def __init__(self, stops: StopRequests) -> None:
        self._stops = stops
        self._silent_since_s: dict[str, float] = {}
        self._heard: dict[str, tuple[datetime, float]] = {}
        """By driver: its newest heartbeat, and when this process first saw it."""
        self._nodes: frozenset[str] = frozenset()
        self._listed_nodes_at = datetime.min.replace(tzinfo=UTC)

    def check(self, tick: Tick, to_extend: Collection[str]) -> None:
        """Check every attempt that the database calls live. The jobs `to_extend` stop to train on new files."""
        jobs = {job.id: job for job in tick.jobs}
        for attempt in tick.attempts:
            with contained(tick, "checked while it runs", attempt.job_id):
                self._check(tick, attempt, jobs.get(attempt.job_id), extends=attempt.job_id in to_extend)
        self._stops.forget_ended(tick)
        live = tick.attempt_drivers
        self._heard = {driver: heard for driver, heard in self._heard.items() if driver in live}

    def _check(self, tick: Tick, attempt: AttemptRecord, job: JobRecord | None, *, extends: bool) -> None:
        if lost := self._why_lost(tick, attempt, job):
            end_attempt(tick, attempt, *lost)
            return
        assert job is not None
        if kind := _due_stop(tick, job, attempt, extends=extends):
            self._stops.request(tick, job, attempt, kind, STOP_MESSAGES[kind])
        elif (kind := requested_stop(job)) is not None:
            self._stops.follow_up(tick, attempt, kind)
        elif self._is_silent(tick, attempt):
            self._revive(tick, attempt, job)
        else:
            self._silent_since_s.pop(attempt.driver, None)

    def _why_lost(self, tick: Tick, attempt: AttemptRecord, job: JobRecord | None) -> tuple[ReasonCode, str] | None:
        """The reason and the message with which a lost attempt ends; `None` for one that is not lost."""
        if attempt.driver not in tick.drivers.names:
            return _why_driver_lost(tick, attempt, job)
        if job is None or job.attempt != attempt.number:
            return ReasonCode.INTERNAL_ERROR, "The job moved on without this attempt."
        if self._has_lost_a_machine(tick, attempt):
            return ReasonCode.NODE_LOST, "A machine of the run is no longer available."
        return None

    def _has_lost_a_machine(self, tick: Tick, attempt: AttemptRecord) -> bool:
        """Whether a machine of the run has left the cluster: the run would wait for it forever."""
        if tick.now - self._listed_nodes_at > timedelta(seconds=NODES_INTERVAL_S):
            self._nodes = frozenset(node.id for node in tick.cluster.fleet().nodes)
            self._listed_nodes_at = tick.now
        # A run that is younger than the list may be on a machine that has just come. Where it seems to begin later than
        # now, the clock was set back.
        is_older = not self._listed_nodes_at <= attempt.created_at <= tick.now
        return is_older and any(node not in self._nodes for node, _ in attempt.placement)

    def _is_silent(self, tick: Tick, attempt: AttemptRecord) -> bool:
        """Whether the heartbeat is old, or has not changed for as long: that of a clock which was set back is newer
        than now.
        """
        beat, since_s = self._heard.get(attempt.driver, (None, 0.0))
        if beat != attempt.heartbeat_at:
            since_s = tick.monotonic_s
            self._heard[attempt.driver] = attempt.heartbeat_at, since_s
        age_s = (tick.now - attempt.heartbeat_at).total_seconds()
        return max(age_s, tick.monotonic_s - since_s) > HEARTBEAT_TIMEOUT_S

    def _revive(self, tick: Tick, attempt: AttemptRecord, job: JobRecord) -> None:
        """Ask a silent driver for its state: it may have no plan yet, or hang, or the database was unavailable.

        A driver without a plan gets it again. One that does not answer, or stays silent as long again, is ended.
        """
        since_s = self._silent_since_s.setdefault(attempt.driver, tick.monotonic_s)
        try:
            is_patient = tick.monotonic_s - since_s < HEARTBEAT_TIMEOUT_S
            state = tick.cluster.state(attempt.driver)
            if is_patient and (state == "taken" or (state != "ended" and _assign_again(tick, attempt, job))):
                return
        except DriverLostError as error:
            logger.warning("%s", error)
        self._silent_since_s.pop(attempt.driver, None)
        end_attempt(tick, attempt, ReasonCode.WORKER_CRASHED, "The run's driver process does not answer.")


def _why_driver_lost(tick: Tick, attempt: AttemptRecord, job: JobRecord | None) -> tuple[ReasonCode, str]:
    if tick.is_new_session:
        return ReasonCode.SERVICE_RESTARTED, "The service was restarted."
    never_wrote = job is not None and job.status is JobStatus.PENDING and attempt.heartbeat_at == attempt.created_at
    if never_wrote and not tick.drivers.was_launched_here(attempt.driver):
        return ReasonCode.SERVICE_RESTARTED, "The scheduler was restarted before it had started the run."
    return ReasonCode.WORKER_CRASHED, "The run's driver process exited unexpectedly without an error message."


def _due_stop(tick: Tick, job: JobRecord, attempt: AttemptRecord, *, extends: bool) -> StopKind | None:
    """A stop that the service has to request, and that is more urgent than what was requested so far."""
    kind = StopKind.DRAIN if tick.is_draining else StopKind.EXTEND if extends else None
    if has_limit(job):
        with tick.store.read() as tx:
            nearest = tick.limits.nearest(tx, job, tick.now, attempt)
        if nearest is not None and nearest.left_s <= 0:
            kind = nearest.kind
    held = requested_stop(job)
    is_news = kind is not None and (held is None or held.urgency < kind.urgency)
    return kind if is_news else None


def _assign_again(tick: Tick, attempt: AttemptRecord, job: JobRecord) -> bool:
    with tick.store.read() as tx:
        plan = make_plan(tx, tick.settings, job, attempt, tick.now)
    return tick.cluster.assign(attempt.driver, plan, held_shape(attempt, plan.config.resources.num_workers))

"""Stopping runs: by request, so that they save a checkpoint, and by force when they take too long."""

from datetime import datetime, timedelta

from cluster.coordinator.ray_backend import DriverLostError
from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import end_attempt, move_job
from cluster.policy.retry import STOP_REASONS
from cluster.runs.run_limits import SAVE_GRACE_S
from ftlab.status import JobStatus, StopKind
from tracking.store import StaleJobError
from tracking.store.records import AttemptRecord, JobRecord, JobRef

URGENT = frozenset({StopKind.CANCEL, StopKind.DRAIN})
"""Stops that a user waits for: their grace time is the setting `stop_grace_s`; for the others, `SAVE_GRACE_S` if that
is longer.
"""
HEARTBEAT_TIMEOUT_S = 30.0
"""A driver that has written nothing for this long is silent."""


def requested_stop(job: JobRecord) -> StopKind | None:
    """Why the job's attempt has been requested to stop; `None` when it has not."""
    if job.status is JobStatus.CANCELLING:
        return StopKind.CANCEL
    if job.status is JobStatus.PAUSING:
        return job.stop_kind or StopKind.PAUSE
    return None


class StopRequests:
    """Remembers since when each attempt has been requested to stop; a new coordinator grants the grace time again.

    So does a stop that becomes urgent: a run that is pausing and then cancelled gets `stop_grace_s` from then on.
    """

    def __init__(self) -> None:
        self._since: dict[tuple[JobRef, bool], datetime] = {}
        """By attempt, and by whether the stop is urgent."""

    def request(self, tick: Tick, job: JobRecord, attempt: AttemptRecord, kind: StopKind, message: str) -> None:
        """Stop a run on behalf of the service. What the user requested, and what is more urgent, stays."""
        held = requested_stop(job)
        if held is None:
            if move_job(tick, job, JobStatus.PAUSING, message=message, stop_kind=kind):
                self.follow_up(tick, attempt, kind)
        elif held.urgency < kind.urgency:
            try:
                with tick.store.begin() as tx:
                    held = tx.jobs.set_stop_kind(job.ref, kind)
            except StaleJobError:
                return  # the job ended, or was cancelled, a moment ago
            self.follow_up(tick, attempt, held)

    def follow_up(self, tick: Tick, attempt: AttemptRecord, kind: StopKind) -> None:
        """Pass the request to the run's driver; end a run that has nothing to save, or has used up its grace time."""
        # Once the service is about to stop, every stop is urgent.
        is_urgent = tick.is_draining or kind in URGENT
        since = self._since.setdefault((JobRef(attempt.job_id, attempt.number), is_urgent), tick.now)
        stop_grace_s = tick.settings.stop_grace_s
        grace_s = stop_grace_s if is_urgent else max(stop_grace_s, SAVE_GRACE_S)
        try:
            is_over = not tick.cluster.request_stop(attempt.driver, kind)
        except DriverLostError:
            # A run that writes heartbeats learns from them that it is to stop.
            is_over = is_urgent or tick.now - attempt.heartbeat_at > timedelta(seconds=HEARTBEAT_TIMEOUT_S)
        if is_over or tick.now - since > timedelta(seconds=grace_s):
            end_attempt(tick, attempt, STOP_REASONS[kind], "Stopped before it could save.")

    def forget_ended(self, tick: Tick) -> None:
        live = {JobRef(attempt.job_id, attempt.number) for attempt in tick.attempts}
        self._since = {key: since for key, since in self._since.items() if key[0] in live}

"""Bringing runs to a stop: by request, so that a checkpoint is saved, and by force when they take too long."""

from collections.abc import Collection
from datetime import datetime, timedelta

from cluster.coordinator.ray_backend import Cluster, DriverLostError
from cluster.coordinator.transitions import Moves
from cluster.policy.retry import STOP_REASONS
from cluster.runs.time_limits import SAVE_GRACE_S
from ftlab.status import JobStatus, StopKind
from tracking.store import StaleJobError, Store
from tracking.store.records import AttemptRecord, JobRecord, JobRef

HURRIED = frozenset({StopKind.CANCEL, StopKind.DRAIN})
"""Stops for which somebody waits: they get the setting `stop_grace_s`, the others `SAVE_GRACE_S` where it is longer."""
HEARTBEAT_TIMEOUT_S = 30.0
"""A driver that has written nothing for this long is silent."""


def wanted_stop(job: JobRecord) -> StopKind | None:
    """Why the job's attempt is to stop, if it is."""
    if job.status is JobStatus.CANCELLING:
        return StopKind.CANCEL
    if job.status is JobStatus.PAUSING:
        return job.stop_kind or StopKind.PAUSE
    return None


class Stopping:
    """Remembers since when each attempt has been asked; a new coordinator gives the grace time once more.

    So does a stop that becomes urgent: a run that is pausing and then cancelled gets `stop_grace_s` from then on.
    """

    def __init__(self, store: Store, cluster: Cluster, moves: Moves, stop_grace_s: float) -> None:
        self._store = store
        self._cluster = cluster
        self._moves = moves
        self._stop_grace_s = stop_grace_s
        self._since: dict[tuple[JobRef, bool], datetime] = {}
        """By attempt, and by whether somebody waits for it."""
        self._is_closing = False

    def ask(self, job: JobRecord, attempt: AttemptRecord, kind: StopKind, message: str, now: datetime) -> None:
        """Have the service stop a run. What the user wants of it, and what is more urgent, stays."""
        held = wanted_stop(job)
        if held is None:
            if self._moves.move(job, JobStatus.PAUSING, now, message=message, stop_kind=kind):
                self.carry(attempt, kind, now)
        elif held.urgency < kind.urgency:
            try:
                with self._store.begin() as tx:
                    held = tx.jobs.set_stop_kind(job.ref, kind)
            except StaleJobError:
                return  # it came to its end, or was cancelled, a moment ago
            self.carry(attempt, held, now)

    def hurry(self) -> None:
        """The service is about to stop: from now on nobody gets more than `stop_grace_s`."""
        self._is_closing = True

    def carry(self, attempt: AttemptRecord, kind: StopKind, now: datetime) -> None:
        """Tell the run's driver; end a run that has nothing to save, or whose grace time is over."""
        is_hurried = self._is_closing or kind in HURRIED
        since = self._since.setdefault((JobRef(attempt.job_id, attempt.number), is_hurried), now)
        grace_s = self._stop_grace_s if is_hurried else max(self._stop_grace_s, SAVE_GRACE_S)
        try:
            is_over = not self._cluster.request_stop(attempt.driver, kind)
        except DriverLostError:
            # A run that writes heartbeats learns from them what is wanted.
            is_silent = now - attempt.heartbeat_at > timedelta(seconds=HEARTBEAT_TIMEOUT_S)
            is_over = is_silent or is_hurried
        if is_over or now - since > timedelta(seconds=grace_s):
            self._moves.end_attempt(attempt, STOP_REASONS[kind], "Stopped before it could save.", now)

    def forget_except(self, live: Collection[JobRef]) -> None:
        self._since = {key: since for key, since in self._since.items() if key[0] in live}

"""The coordinator: one tick after the other, it makes the cluster match the database."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cluster.coordinator.data_gate import DataStage
from cluster.coordinator.device_usage import Accounting
from cluster.coordinator.drivers import Roster
from cluster.coordinator.ended_attempts import Settling
from cluster.coordinator.live_attempts import Tending
from cluster.coordinator.queue_snapshot import SceneReader
from cluster.coordinator.ray_backend import Cluster
from cluster.coordinator.start_jobs import Starting
from cluster.coordinator.stop_requests import Stopping
from cluster.coordinator.transitions import Moves
from cluster.interfaces import EventHubClient
from cluster.names import STANDBY_PREFIX
from cluster.policy import Rules
from cluster.runs.time_limits import TimeLimits
from ftlab.settings import Settings
from ftlab.status import JobStatus
from tracking.store import StaleJobError, Store
from tracking.store.ids import new_id
from tracking.store.leases import COORDINATOR
from tracking.store.records import AttemptRecord, JobRecord, Lease

LEASE_TTL_S = 10.0
LEASE_RENEWED_BEFORE_END_S = LEASE_TTL_S * 2 / 3
SESSION = "session"
"""The lease whose holder is the life of the cluster in which a coordinator got through its first tick."""
STANDBY_RETRY_S = 20.0
LOOKS_UNTIL_ABANDONED = 6
"""A lease that so many looks in a row, `LEASE_TTL_S` apart, find the same is renewed by nobody."""

logger = logging.getLogger(__name__)


class FencedError(StaleJobError):
    """Another coordinator has taken over; this one must not go on."""


@dataclass(frozen=True)
class _Look:
    """What a tick begins with."""

    attempts: Sequence[AttemptRecord]
    jobs: Sequence[JobRecord]
    unreleased: Sequence[AttemptRecord]
    uncounted: Sequence[AttemptRecord]


class Coordinator:
    """Stateless over the database: a new one goes on where the last one stopped.

    `tick()` loads, decides and applies; it is called by one thread only. What it remembers between two ticks is only
    what it could find out again. `drain` and `is_drained` may be called from any thread.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        hub: EventHubClient,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        rules: Rules | None = None,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._lease: Lease | None = None
        self._is_new_session = True
        self._draining = threading.Event()
        self._drained = threading.Event()
        self._standby_started = datetime.min.replace(tzinfo=UTC)
        limits = TimeLimits()
        self._roster = Roster(cluster)
        self._accounting = Accounting(store, cluster)
        moves = Moves(store, cluster, hub, self._roster)
        stopping = Stopping(store, cluster, moves, settings.stop_grace_s)
        scenes = SceneReader(store, settings, moves, limits, rules or Rules(min_run_s=settings.preemption_min_run_s))
        data = DataStage(store, cluster, settings, moves)
        self._tending = Tending(store, cluster, settings, self._roster, moves, stopping, limits, data)
        self._settling = Settling(store, cluster, settings, self._roster, moves, limits)
        self._starting = Starting(store, cluster, settings, self._roster, moves, stopping, scenes, data)

    def tick(self) -> None:
        """One pass over everything. Raises `FencedError` when another coordinator has taken over."""
        now = self._clock()
        lease = self._hold_lease(now)
        self._roster.refresh()
        look = self._look(lease)
        is_draining = self._draining.is_set()
        self._accounting.count(look.uncounted, now)
        self._tending.tend(look.attempts, look.jobs, now, is_new_session=self._is_new_session, is_draining=is_draining)
        if look.jobs:
            self._settling.settle(now)
        owned = {attempt.driver for attempt in look.attempts}
        self._settling.end_orphans(look.attempts, look.unreleased, now)
        self._roster.forget_except(owned)
        if is_draining:
            self._note_drained(look)
        else:
            started = self._starting.start(lease, now)
            self._keep_standby(look, is_starting=bool(started), now=now)
        self._note_session(now)

    def drain(self) -> None:
        """From the next tick on: start nothing, and have every run save and stop."""
        self._draining.set()

    def is_drained(self) -> bool:
        """Whether a tick has found, since `drain`, that no attempt lives and every job has come to rest."""
        return self._drained.is_set()

    def _hold_lease(self, now: datetime) -> Lease:
        """Take the lease at first; then renew it long before it ends, which tells others that somebody schedules."""
        if self._lease is None:
            with self._store.begin() as tx:
                session = tx.leases.current(SESSION)
                holder = f"{self._cluster.session()}/{new_id('coordinator')}"
                # There is one coordinator actor per cluster, so the one before is dead or fenced from now on.
                lease = tx.leases.acquire(COORDINATOR, holder, ttl_s=LEASE_TTL_S, now=now, force=True)
            # Not before the commit: a lease that the database does not know would be taken for one that was lost.
            self._lease = lease
            self._is_new_session = session is None or session.holder != self._cluster.session()
        elif self._lease.expires_at - now < timedelta(seconds=LEASE_RENEWED_BEFORE_END_S):
            try:
                with self._store.begin() as tx:
                    lease = tx.leases.renew(self._lease, ttl_s=LEASE_TTL_S, now=now)
            except StaleJobError as error:
                raise FencedError(str(error)) from error
            self._lease = lease
        return self._lease

    def _look(self, lease: Lease) -> _Look:
        with self._store.read() as tx:
            current = tx.leases.current(COORDINATOR)
            if current is None or current.epoch != lease.epoch:
                raise FencedError("Another coordinator has taken the lease.")
            return _Look(tx.attempts.live(), tx.jobs.live(), tx.attempts.unreleased(), tx.attempts.uncounted())

    def _note_drained(self, look: _Look) -> None:
        if not look.attempts and not look.jobs:
            self._drained.set()

    def _note_session(self, now: datetime) -> None:
        """What was lost with the life of the cluster before this one is dealt with. Until then a restart is news."""
        if self._is_new_session:
            with self._store.begin() as tx:
                tx.leases.acquire(SESSION, self._cluster.session(), ttl_s=LEASE_TTL_S, now=now, force=True)
            self._is_new_session = False

    def _keep_standby(self, look: _Look, *, is_starting: bool, now: datetime) -> None:
        """Keep one run started ahead, but never while a job is on its way to its first step: they would compete."""
        if not self._settings.standby or now - self._standby_started < timedelta(seconds=STANDBY_RETRY_S):
            return
        is_starting |= any(_is_on_its_way(job) for job in look.jobs)
        owned = {attempt.driver for attempt in look.attempts}
        # Where there are several machines, there is no telling on which one it would be.
        if not is_starting and self._roster.find_standby(owned) is None and len(self._cluster.fleet().nodes) == 1:
            self._standby_started = now
            self._roster.launch(f"{STANDBY_PREFIX}{new_id('r')}", None, None)


def _is_on_its_way(job: JobRecord) -> bool:
    """Whether the job has not done a step in this attempt: the first one brings an estimate of the time left."""
    if job.status in (JobStatus.PENDING, JobStatus.INITIALIZING):
        return True
    return job.status is JobStatus.RUNNING and job.eta_s is None


def run_forever(coordinator: Coordinator, pause: Callable[[float], None]) -> None:
    """Tick, pause as long as `pause` thinks right after a tick of so many seconds, and so on.

    An error of one tick is logged and the next one tries; only a coordinator that is fenced comes to its end.
    `wait_until_abandoned` tells when another one may take its place.
    """
    while True:
        started = time.monotonic()
        try:
            coordinator.tick()
        except FencedError as error:
            logger.error("This coordinator stops for good: %s", error)
            return
        except Exception:
            logger.exception("A tick failed")
        pause(time.monotonic() - started)


def wait_until_abandoned(store: Store, pause: Callable[[float], None]) -> None:
    """For whoever was fenced: return when the coordinator that took over is gone, which takes a minute to be sure of.

    To take the lease back from one that lives would have the two fence each other for ever, and end each other's runs.
    """
    last: Lease | None = None
    num_same = 0
    while num_same < LOOKS_UNTIL_ABANDONED:
        pause(LEASE_TTL_S)
        try:
            with store.read() as tx:
                lease = tx.leases.current(COORDINATOR)
        except Exception:  # an edge: while the database is away nobody can renew the lease
            logger.exception("The lease could not be looked at")
            num_same = 0
            continue
        num_same = num_same + 1 if lease == last else 0
        last = lease

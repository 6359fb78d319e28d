"""The coordinator: tick by tick, it makes the cluster match the database."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from cluster.coordinator.data_gate import DataGate
from cluster.coordinator.drivers import Drivers
from cluster.coordinator.ended_attempts import OrphanedDrivers, count_device_usage, release_ended, settle_jobs
from cluster.coordinator.faulty_gpus import FaultyGpus
from cluster.coordinator.live_attempts import LiveAttempts
from cluster.coordinator.ray_backend import Cluster
from cluster.coordinator.spending import SpendingGate
from cluster.coordinator.start_jobs import JobStarter, Standby
from cluster.coordinator.stop_requests import StopRequests
from cluster.coordinator.sweep_suggestions import Suggestions
from cluster.coordinator.sweeps import Sweeps
from cluster.coordinator.tick import Tick
from cluster.coordinator.tick_timer import INTERVAL_S
from cluster.interfaces import EventHubClient
from cluster.policy import Rules
from cluster.runs.run_limits import RunLimits
from ftlab.settings import Settings
from tracking.store import StaleJobError, Store
from tracking.store.ids import new_id
from tracking.store.leases import COORDINATOR
from tracking.store.records import Lease

LEASE_TTL_S = 10.0
LEASE_TTL = timedelta(seconds=LEASE_TTL_S)
RENEWED_BEFORE_END = LEASE_TTL * 2 / 3
IDLE_INTERVAL_S = LEASE_TTL_S / 3 + 0.1
"""The longest time between two ticks with nothing to do: just over a third of the lease, so that each one renews it."""
IDLE_AFTER_S = 30.0
"""How long there must have been nothing to do before ticks become rarer."""
SESSION = "session"
"""The lease that records in which life of the cluster a coordinator completed its first tick."""
CLOCK_STEP = timedelta(seconds=1)
"""A clock that goes back by more was set; by less, it was adjusted."""
LOOKS_UNTIL_ABANDONED = 6
"""A lease that this many checks, `LEASE_TTL_S` apart, find unchanged is no longer renewed."""

logger = logging.getLogger(__name__)


class FencedError(StaleJobError):
    """Another coordinator has taken over; this one must stop."""


class Coordinator:
    """Schedules jobs. All its state is in the database: a new coordinator resumes where the last one stopped.

    `tick()` is called by one thread only. State that its parts keep between ticks saves work or grants time, and may be
    lost. `drain` and `is_drained` may be called from any thread.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        hub: EventHubClient,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        rules: Rules | None = None,
        suggestions: Suggestions | None = None,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._clock = clock
        self._monotonic = monotonic
        self._lease: Lease | None = None
        self._had_work_at = monotonic()
        self._is_new_session = True
        self._draining = threading.Event()
        self._drained = threading.Event()
        self._drivers = Drivers(cluster)
        self._new_tick = partial(
            Tick,
            store=store,
            cluster=cluster,
            hub=hub,
            settings=settings,
            rules=rules or Rules(min_run_s=settings.preemption_min_run_s),
            drivers=self._drivers,
            limits=RunLimits(settings),
            unexpected=Counter(),
        )
        self._ticked_at: datetime | None = None
        self._faulty_gpus = FaultyGpus()
        self._sweeps = Sweeps(suggestions)
        self._make_parts()

    def _make_parts(self) -> None:
        """Begin with the parts that remember times."""
        stops = StopRequests()
        self._data_gate = DataGate()
        self._live_attempts = LiveAttempts(stops)
        self._orphaned_drivers = OrphanedDrivers()
        self._spending_gate = SpendingGate()
        self._job_starter = JobStarter(stops, self._data_gate, self._spending_gate, self._faulty_gpus)
        self._standby = Standby()

    def tick(self) -> None:
        """Make the cluster match the database once. Raises `FencedError` when another coordinator has taken over.

        1. Hold the lease, list the run drivers, and read the live jobs and attempts.
        2. For ended attempts: take out GPUs on which one job after another failed, add the device time to the usage of
           the owner, and warn owners whose budget is nearly used up.
        3. Check the live attempts: end the lost ones, and stop those that are requested or due to stop.
        4. Decide what follows for jobs whose attempt has ended: they are queued, stay stopped, or end.
        5. Advance the sweeps: record what their trials have come to, and add, promote, hold and end trials.
        6. End drivers without an attempt, release what ended attempts still hold, and set faulty GPUs aside.
        7. Start jobs of the queue, and keep a standby run. While draining: end it, and note when no attempt is live any
           more.
        8. Note that everything left by an earlier life of the cluster has been cleaned up.
        """
        tick = self._begin()
        self._faulty_gpus.note(tick)
        count_device_usage(tick)
        self._spending_gate.watch(tick)
        self._live_attempts.check(tick, self._data_gate.jobs_to_extend(tick))
        settle_jobs(tick)
        is_searching = self._sweeps.advance(tick)
        self._orphaned_drivers.end(tick)
        release_ended(tick)
        has_faulty_gpus = self._faulty_gpus.keep_out(tick)
        if not tick.is_draining:
            is_starting = self._job_starter.start(tick)
            self._standby.keep(tick, is_starting=is_starting, has_waiting=self._job_starter.has_waiting)
        else:
            self._standby.end(tick)
            if not tick.attempts and not tick.jobs:
                self._drained.set()
        self._note_session(tick)
        if is_searching or has_faulty_gpus or tick.has_work:
            self._had_work_at = tick.monotonic_s

    @property
    def interval_s(self) -> float:
        """The longest time until the next tick: shorter while there is work, and for a while after."""
        is_idle = self._monotonic() - self._had_work_at > IDLE_AFTER_S
        return IDLE_INTERVAL_S if is_idle else INTERVAL_S

    def drain(self) -> None:
        """From the next tick on, start nothing, and have every run save and stop."""
        self._draining.set()

    def is_drained(self) -> bool:
        """Whether a tick since `drain` has found no live attempt, and no job that is about to run."""
        return self._drained.is_set()

    def _begin(self) -> Tick:
        now = self._clock()
        if self._ticked_at is not None and now < self._ticked_at - CLOCK_STEP:
            # Measured from later times, no timeout would pass until the clock is there again.
            logger.warning("The clock was set back by %s", self._ticked_at - now)
            self._make_parts()
        self._ticked_at = now
        lease = self._hold_lease(now)
        # Before the attempts are read: one that ends meanwhile must not look like one that has lost its driver.
        self._drivers.refresh()
        with self._store.read() as tx:
            current = tx.leases.current(COORDINATOR)
            if current is None or current.epoch != lease.epoch:
                raise FencedError("Another coordinator has taken the lease.")
            jobs, attempts = tx.jobs.live(), tx.attempts.live()
            unreleased, uncounted = tx.attempts.unreleased(), tx.attempts.uncounted()
            has_queue = tx.jobs.any_queued()
        self._drivers.forget_except({attempt.driver for attempt in attempts})
        return self._new_tick(
            now=now,
            monotonic_s=self._monotonic(),
            lease=lease,
            is_new_session=self._is_new_session,
            is_draining=self._draining.is_set(),
            jobs=jobs,
            attempts=attempts,
            unreleased=unreleased,
            uncounted=uncounted,
            has_queue=has_queue,
        )

    def _hold_lease(self, now: datetime) -> Lease:
        """Take the lease at first; then renew it long before it ends, as a sign to others of an active coordinator."""
        if self._lease is None:
            with self._store.begin() as tx:
                session = tx.leases.current(SESSION)
                holder = f"{self._cluster.session()}/{new_id('coordinator')}"
                # There is one coordinator actor per cluster, so the one before is dead or fenced from now on.
                lease = tx.leases.acquire(COORDINATOR, holder, ttl_s=LEASE_TTL_S, now=now)
            # Not before the commit: a lease that the database does not know would be taken for one that was lost.
            self._lease = lease
            self._is_new_session = session is None or session.holder != self._cluster.session()
        elif not RENEWED_BEFORE_END <= self._lease.expires_at - now <= LEASE_TTL:  # later: the clock was set back
            try:
                with self._store.begin() as tx:
                    lease = tx.leases.renew(self._lease, ttl_s=LEASE_TTL_S, now=now)
            except StaleJobError as error:
                raise FencedError(str(error)) from error
            self._lease = lease
        return self._lease

    def _note_session(self, tick: Tick) -> None:
        """Until this is noted, a coordinator takes a missing driver for one that a restart of the cluster ended."""
        if self._is_new_session:
            with self._store.begin() as tx:
                tx.leases.acquire(SESSION, self._cluster.session(), ttl_s=LEASE_TTL_S, now=tick.now)
            self._is_new_session = False


def run_forever(coordinator: Coordinator, pause: Callable[[float, float], None]) -> None:
    """Tick, pause, and so on until the coordinator is fenced.

    `pause` gets the seconds that the tick took, and the longest time until the next one.

    An error in a tick is logged, and the next tick tries again.
    """
    while True:
        started, interval_s = time.monotonic(), INTERVAL_S
        try:
            coordinator.tick()
            interval_s = coordinator.interval_s
        except FencedError as error:
            logger.error("This coordinator stops for good: %s", error)
            return
        except Exception:
            logger.exception("A tick failed")
        pause(time.monotonic() - started, interval_s)


def wait_until_abandoned(store: Store, pause: Callable[[float], None]) -> None:
    """For a fenced coordinator: return when the one that took over has ended, which takes a minute to detect.

    If it took the lease back from a live one, the two would fence each other forever, and end each other's runs.
    """
    last: Lease | None = None
    num_same = 0
    while num_same < LOOKS_UNTIL_ABANDONED:
        pause(LEASE_TTL_S)
        try:
            with store.read() as tx:
                lease = tx.leases.current(COORDINATOR)
        except Exception:  # an edge: while the database is away nobody can renew the lease
            logger.exception("The lease could not be checked")
            num_same = 0
            continue
        num_same = num_same + 1 if lease == last else 0
        last = lease

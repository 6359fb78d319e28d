"""The context of one tick, passed to each of its steps."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cluster.coordinator.drivers import Drivers
from cluster.coordinator.ray_backend import Cluster
from cluster.interfaces import EventHubClient
from cluster.policy import Rules
from cluster.runs.run_limits import RunLimits
from ftlab.settings import Settings
from tracking.store import Store
from tracking.store.records import AttemptRecord, JobRecord, Lease


@dataclass(frozen=True)
class Tick:
    """Context of a tick, with the records that the database had when it began."""

    store: Store
    cluster: Cluster
    hub: EventHubClient
    settings: Settings
    rules: Rules
    drivers: Drivers
    limits: RunLimits
    unexpected: Counter[tuple[str, str]]
    """In how many ticks in a row a piece of work for a job has failed unexpectedly, by work and job."""
    now: datetime
    monotonic_s: float
    """The same moment on a clock that nobody sets, for times that only this process compares."""
    lease: Lease
    is_new_session: bool
    """Whether losses from the previous life of the cluster still have to be handled."""
    is_draining: bool
    """Whether the service is about to stop: no job starts, and running jobs save and stop."""
    jobs: Sequence[JobRecord]
    """The live jobs: pending to cancelling."""
    attempts: Sequence[AttemptRecord]
    """The live attempts."""
    unreleased: Sequence[AttemptRecord]
    """Ended attempts whose placement groups may still exist."""
    uncounted: Sequence[AttemptRecord]
    """Ended attempts whose device time has not been added to their owner's usage."""
    has_queue: bool
    """Whether a job is queued, including those whose time to start is later."""

    @property
    def attempt_drivers(self) -> set[str]:
        """Names of the drivers of the live attempts."""
        return {attempt.driver for attempt in self.attempts}

    @property
    def has_work(self) -> bool:
        """Whether there are jobs, or something that they have left behind."""
        return self.has_queue or self.is_draining or any((self.jobs, self.attempts, self.unreleased, self.uncounted))

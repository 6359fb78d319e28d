"""The context of one tick, which every step of it gets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cluster.coordinator.drivers import Drivers
from cluster.coordinator.ray_backend import Cluster
from cluster.interfaces import EventHubClient
from cluster.policy import Rules
from cluster.runs.time_limits import TimeLimits
from ftlab.settings import Settings
from tracking.store import Store
from tracking.store.records import AttemptRecord, JobRecord, Lease


@dataclass(frozen=True)
class Tick:
    """What a tick works with, and what the database had when it began."""

    store: Store
    cluster: Cluster
    hub: EventHubClient
    settings: Settings
    rules: Rules
    drivers: Drivers
    time_limits: TimeLimits
    now: datetime
    lease: Lease
    is_new_session: bool
    """Whether what was lost with the previous life of the cluster has not been dealt with yet."""
    is_draining: bool
    """Whether the service is about to stop: no job starts, and running jobs save and stop."""
    jobs: Sequence[JobRecord]
    """The live ones: pending to cancelling."""
    attempts: Sequence[AttemptRecord]
    """The live ones."""
    unreleased: Sequence[AttemptRecord]
    """Ended attempts whose placement groups may still exist."""
    uncounted: Sequence[AttemptRecord]
    """Ended attempts whose device time has not been added to their owner's usage."""

    @property
    def attempt_drivers(self) -> set[str]:
        """Names of the drivers of the live attempts."""
        return {attempt.driver for attempt in self.attempts}

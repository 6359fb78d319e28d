"""What owners have used of the devices, for their fair shares."""

from collections.abc import Sequence
from datetime import datetime

from cluster.coordinator.ray_backend import Cluster
from cluster.policy import Devices
from cluster.runs.time_limits import lasted_s
from tracking.store import Store
from tracking.store.records import AttemptRecord, JobRef


class Accounting:
    """Counts each attempt once after its end, whenever that was and whichever coordinator lived then."""

    def __init__(self, store: Store, cluster: Cluster) -> None:
        self._store = store
        self._cluster = cluster

    def count(self, uncounted: Sequence[AttemptRecord], now: datetime) -> None:
        """Count what these attempts have used, for the time at which they ended."""
        if not uncounted:
            return
        fleet = self._cluster.fleet()
        with self._store.begin() as tx:
            for attempt in uncounted:
                if tx.attempts.count(JobRef(attempt.job_id, attempt.number), now=now):
                    devices = fleet.weigh(Devices(attempt.cpus, attempt.gpus))
                    device_s = devices * lasted_s([attempt], now)
                    tx.usage.add(tx.jobs.get(attempt.job_id).owner, device_s, now=attempt.ended_at or now)

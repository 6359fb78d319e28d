"""What owners have used of the devices, for their fair shares."""

from collections.abc import Iterable
from datetime import datetime

from cluster.policy import Devices
from cluster.ray_cluster import Cluster
from cluster.time_limits import lasted_s
from tracking.store import Store
from tracking.store.records import AttemptRecord, JobRef


class Accounting:
    """Counts each attempt once it has ended. The few that end while no coordinator lives are forgiven."""

    def __init__(self, store: Store, cluster: Cluster) -> None:
        self._store = store
        self._cluster = cluster
        self._open: set[JobRef] = set()

    def open(self, refs: Iterable[JobRef]) -> None:
        """These attempts have just been claimed."""
        self._open.update(refs)

    def note(self, live: Iterable[AttemptRecord], now: datetime) -> None:
        """Look at the live attempts of this tick; those of the tick before that are missing have ended."""
        refs = {JobRef(attempt.job_id, attempt.number) for attempt in live}
        ended = self._open - refs
        if ended:
            fleet = self._cluster.fleet()
            with self._store.begin() as tx:
                for ref in sorted(ended, key=lambda ref: ref.id):
                    attempt = tx.attempts.get(ref)
                    devices = fleet.weigh(Devices(attempt.cpus, attempt.gpus))
                    tx.usage.add(tx.jobs.get(ref.id).owner, devices * lasted_s([attempt], now), now=now)
        self._open = refs

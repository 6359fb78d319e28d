"""The order in which jobs are considered: priority, then fair shares between owners, then submit order."""

from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import groupby

from cluster.policy.fleet import Fleet
from cluster.policy.jobs import QueuedJob, Situation

SMALLEST_WEIGHT = 1e-6


def fair_order(queue: Sequence[QueuedJob], fleet: Fleet, situation: Situation) -> list[QueuedJob]:
    """Put the queue, which comes in the order of submits, into the order of starts.

    Among jobs of one priority the owner goes first who has used the least for their weight, and every job that an
    owner gets counts as use at once, so that owners take turns. Jobs that were moved to the front go before all that.
    """
    used = _Use(fleet, situation)
    line: list[QueuedJob] = []
    for _, peers in groupby(sorted(queue, key=lambda job: -job.priority), key=lambda job: job.priority):
        lanes: dict[str, deque[QueuedJob]] = {}
        for job in peers:
            if job.is_in_front:
                line.append(job)
                used.count(job.owner)
            else:
                lanes.setdefault(job.owner, deque()).append(job)
        while lanes:
            # On a tie the owner who comes first in the queue; dictionaries keep that order.
            owner = min(lanes, key=used.by_weight)
            line.append(lanes[owner].popleft())
            used.count(owner)
            if not lanes[owner]:
                del lanes[owner]
    return line


class _Use:
    """What owners have used, for their weight."""

    def __init__(self, fleet: Fleet, situation: Situation) -> None:
        self._situation = situation
        self._device_s: defaultdict[str, float] = defaultdict(float)
        for owner, share in situation.shares.items():
            self._device_s[owner] = share.device_s
        for job in situation.running:
            ran_s = max(0.0, (situation.now - job.started_at).total_seconds())
            self._device_s[job.owner] += ran_s * fleet.weigh(job.shape.total)

    def count(self, owner: str) -> None:
        self._device_s[owner] += self._situation.rules.nominal_device_s

    def by_weight(self, owner: str) -> float:
        return self._device_s[owner] / max(SMALLEST_WEIGHT, self._situation.share(owner).weight)

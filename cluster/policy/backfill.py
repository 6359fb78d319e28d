"""Backfilling: start a job before one ahead of it that waits, if that provably delays no job ahead of it.

A waiting job gets a reserved start where the running jobs have time limits: the first moment at which there is room for
it even if each of them runs to its limit (EASY backfilling, Lifka 1995, with a reservation for several waiting jobs).
Another job may start now when it fits into what is left until it has ended. Where the moment is unknown, the other job
may only take devices that the waiting one does not depend on, whatever ends when; or it must have ended before the
first waiting job starts.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cluster.policy.fleet import Placement, WorkerShape
from cluster.policy.free_devices import Room, least, place


@dataclass(frozen=True)
class Release:
    """Devices that are guaranteed to be free again after `after_s` seconds."""

    after_s: float
    shape: WorkerShape
    placement: Placement


@dataclass(frozen=True)
class Waiting:
    """A job that waits for devices."""

    shape: WorkerShape
    longest_s: float
    """Seconds after which it is guaranteed to have released its devices, counted from its start."""


class Timeline:
    """What is free at every future moment if each job runs to its limit and only reserved ones start."""

    def __init__(self, room: Room, releases: Iterable[Release]) -> None:
        """`room` is what is free now. A release after 0 seconds is free for reservations, but not for a start now."""
        self._now = room
        self._starts_s = [0.0]
        self._rooms = [room]
        for release in sorted(releases, key=lambda release: release.after_s):
            freed = self._rooms[-1].plus(release.shape, release.placement)
            if release.after_s > self._starts_s[-1]:
                self._starts_s.append(release.after_s)
                self._rooms.append(freed)
            else:
                self._rooms[-1] = freed

    def free_until(self, end_s: float) -> Room:
        """Devices that are free throughout, from now until `end_s`."""
        return least([self._now, *self._between(0, end_s)])

    def reserve(self, job: Waiting) -> float | None:
        """Reserve the first start from which the job can run for as long as it may.

        Return the seconds until then; `None` where there is no such start.
        """
        for number, start_s in enumerate(self._starts_s):
            placement = place(job.shape, self._rooms[number])
            if placement is not None:
                placement = place(job.shape, least(self._between(number, start_s + job.longest_s)))
            if placement is not None:
                self._take(start_s, start_s + job.longest_s, job.shape, placement)
                return start_s
        return None

    def start(self, shape: WorkerShape, placement: Placement, longest_s: float) -> None:
        """Take the devices of a run that starts now."""
        self._now = self._now.without(shape, placement)
        self._take(0.0, longest_s, shape, placement)

    def _between(self, first: int, end_s: float) -> list[Room]:
        last = max(first + 1, bisect_left(self._starts_s, end_s))
        return self._rooms[first:last]

    def _take(self, start_s: float, end_s: float, shape: WorkerShape, placement: Placement) -> None:
        if end_s < math.inf and end_s not in self._starts_s:
            number = bisect_left(self._starts_s, end_s)
            self._starts_s.insert(number, end_s)
            self._rooms.insert(number, self._rooms[number - 1])
        for number, at_s in enumerate(self._starts_s):
            if start_s <= at_s < end_s:
                self._rooms[number] = self._rooms[number].without(shape, placement)


def machines_needed(
    shape: WorkerShape,
    placement: Placement,
    left: Room,
    empty: Room,
    waiting: Sequence[Waiting],
    num_reserved: int,
) -> set[str]:
    """The machines of `placement` on which a run could delay one of the waiting jobs.

    Only the jobs behind the first `num_reserved` are looked at: their starts are not known. A run on a machine does not
    delay them when enough is `left` beside it, already now, for as many of their workers as the `empty` machine takes
    at best: then something else keeps them waiting. The jobs ahead of them are counted as if they ran there.
    """
    needed: set[str] = set()
    for name in {spot.node for spot in placement}:
        cpus, gpus_taken = left.nodes[name].cpus, 0
        for number, other in enumerate(job.shape for job in waiting):
            most = min(other.num_workers, empty.nodes[name].slots(other))
            cpus -= most * other.cpus_per_worker
            is_short = cpus < 0
            if shape.gpus_per_worker and other.gpus_per_worker:
                gpus_taken += most
                is_short |= left.nodes[name].gpu_slots(other.gpus_per_worker) < gpus_taken
            if most and is_short and number >= num_reserved:
                needed.add(name)
    return needed

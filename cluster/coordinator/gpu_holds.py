"""Keeps Ray from giving certain GPUs to runs: an actor holds each of them in Ray's books.

Ray cannot be asked for a certain GPU, only for one of a machine. So actors are started until one of them gets the GPU
that is wanted, and the others are ended. They belong to the coordinator's process and end with it; the next coordinator
starts new ones before it starts jobs.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.policy import Spot

PATIENCE_S = 30.0
"""How long GPUs that are not wanted are held while the wanted one is not free, before others may use them again."""


class Holder(Protocol):
    """An actor that holds a GPU, or waits for one."""

    def gpu(self) -> int | None:
        """Number of its GPU; `None` while it has none."""

    def end(self) -> None:
        """Release the GPU."""


class _GpuHolder:
    """Holds a GPU as long as it lives."""

    def gpu(self) -> int:
        return int(ray.get_gpu_ids()[0])


class RayHolder:
    """A `Holder` that is a Ray actor on one machine."""

    def __init__(self, node: str) -> None:
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        actor = ray.remote(num_cpus=0, num_gpus=1)(_GpuHolder).options(scheduling_strategy=strategy)
        self._actor = actor.remote()
        self._answer: Any = self._actor.gpu.remote()
        self._gpu: int | None = None

    def gpu(self) -> int | None:
        if self._gpu is None and ray.wait([self._answer], timeout=0)[0]:
            self._gpu = int(ray.get(self._answer))
        return self._gpu

    def end(self) -> None:
        ray.kill(self._actor)


@dataclass
class _Search:
    """The holders of one machine that have no wanted GPU."""

    begun_at: float
    holders: list[Holder]


class GpuHolds:
    """The GPUs that are held. Called by one thread, about once a second while some are wanted."""

    def __init__(self, start: Callable[[str], Holder] = RayHolder, clock: Callable[[], float] = time.monotonic) -> None:
        """`start` starts a holder on the machine with the given id."""
        self._start = start
        self._clock = clock
        self._held: dict[Spot, Holder] = {}
        self._searches: dict[str, _Search] = {}

    def hold(self, gpus: Collection[Spot], in_use: Collection[Spot]) -> None:
        """Hold these GPUs and release the others. Those in use are taken by a later call."""
        for spot in self._held.keys() - set(gpus):
            self._held.pop(spot).end()
        missing = set(gpus) - self._held.keys() - set(in_use)
        for node in {spot.node for spot in missing} | self._searches.keys():
            self._search(node, {spot for spot in missing if spot.node == node})

    def _search(self, node: str, missing: set[Spot]) -> None:
        """One step on the way to the missing GPUs of a machine."""
        search = self._searches.setdefault(node, _Search(self._clock(), []))
        try:
            found = {holder: holder.gpu() for holder in search.holders}
        except ray.exceptions.RayError:  # the machine has gone, or Ray ended one
            found = {}
            missing = set()
        for holder, gpu in found.items():
            if (spot := Spot(node, gpu)) in missing:
                self._held[spot] = holder
                search.holders.remove(holder)
                missing.discard(spot)
        is_waiting = any(gpu is None for gpu in found.values())
        if not missing or self._clock() - search.begun_at > PATIENCE_S:
            for holder in search.holders:
                holder.end()
            del self._searches[node]
        elif not is_waiting:
            search.holders.append(self._start(node))

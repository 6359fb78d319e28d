"""What is free on the machines, and where the workers of a run fit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.policy.fleet import WHOLE_GPU, Fleet, Node, Placement, Spot, WorkerShape


@dataclass(frozen=True)
class NodeRoom:
    """What is free on one machine; negative after its cores were reduced while runs held them."""

    cpus: int
    gpus: tuple[float, ...]
    """The free share of each GPU."""

    def slots(self, shape: WorkerShape) -> int:
        """How many of the run's workers fit."""
        by_cpus = max(0, self.cpus) // shape.cpus_per_worker
        return min(by_cpus, self.gpu_slots(shape.gpus_per_worker)) if shape.gpus_per_worker else by_cpus

    def gpu_slots(self, share: float) -> int:
        """How many GPUs have this share free."""
        return sum(free >= share for free in self.gpus)

    def best_gpus(self, share: float, count: int) -> list[int]:
        """The fullest GPUs that still have the share free: Ray chooses in the same way."""
        fitting = sorted((free, number) for number, free in enumerate(self.gpus) if free >= share)
        return [number for _, number in fitting[:count]]


@dataclass(frozen=True)
class Room:
    """What is free, by machine."""

    nodes: Mapping[str, NodeRoom]

    @classmethod
    def of(cls, fleet: Fleet) -> "Room":
        """The machines when nothing runs."""
        return cls({node.id: NodeRoom(node.cpus, _whole_gpus(node)) for node in fleet.nodes})

    def slots(self, shape: WorkerShape) -> int:
        return sum(node.slots(shape) for node in self.nodes.values())

    def without(self, shape: WorkerShape, placement: Placement) -> "Room":
        """The free devices after the run has started."""
        return self._changed(shape, placement, -1)

    def plus(self, shape: WorkerShape, placement: Placement) -> "Room":
        """The free devices after the run has released its own."""
        return self._changed(shape, placement, +1)

    def _changed(self, shape: WorkerShape, placement: Placement, sign: int) -> "Room":
        nodes = dict(self.nodes)
        for spot in placement:
            node = nodes.get(spot.node)
            if node is None:
                continue  # the machine is gone, with what was free on it
            gpus = list(node.gpus)
            if spot.gpu is not None and spot.gpu < len(gpus):
                gpus[spot.gpu] += sign * shape.gpus_per_worker
            nodes[spot.node] = NodeRoom(node.cpus + sign * shape.cpus_per_worker, tuple(gpus))
        return Room(nodes)


def least(rooms: Iterable[Room]) -> Room:
    """What is free in every one of the rooms."""
    first, *others = rooms
    nodes = dict(first.nodes)
    for room in others:
        for name, node in room.nodes.items():
            mine = nodes[name]
            gpus = tuple(map(min, mine.gpus, node.gpus))
            nodes[name] = NodeRoom(min(mine.cpus, node.cpus), gpus)
    return Room(nodes)


def place(shape: WorkerShape, room: Room) -> Placement | None:
    """A spot for every worker, or `None` where not all of them fit.

    On one machine where that is possible, the fullest that takes them; else on as few machines as possible.
    """
    slots = {name: node.slots(shape) for name, node in room.nodes.items()}
    if sum(slots.values()) < shape.num_workers:
        return None
    spots: list[Spot] = []
    while (left := shape.num_workers - len(spots)) > 0:
        large_enough = [name for name, count in slots.items() if count >= left]
        if large_enough:
            name = min(large_enough, key=lambda name: _looseness(name, room.nodes[name], shape))
        else:
            name = min(slots, key=lambda name: (-slots[name], name))
        spots += _spots(name, room.nodes[name], shape, min(left, slots.pop(name)))
    return tuple(spots)


def _whole_gpus(node: Node) -> tuple[float, ...]:
    return tuple(0.0 if gpu in node.gpus_out else WHOLE_GPU for gpu in range(node.gpus))


def _spots(name: str, node: NodeRoom, shape: WorkerShape, count: int) -> list[Spot]:
    if not shape.gpus_per_worker:
        return [Spot(name)] * count
    return [Spot(name, gpu) for gpu in node.best_gpus(shape.gpus_per_worker, count)]


def _looseness(name: str, node: NodeRoom, shape: WorkerShape) -> tuple[float, float, int, str]:
    """Small for a machine on which little is left unused; a run without GPUs keeps off machines with free ones."""
    best = node.best_gpus(shape.gpus_per_worker, 1) if shape.gpus_per_worker else []
    return (node.gpus[best[0]] if best else 0.0, sum(node.gpus), node.cpus, name)

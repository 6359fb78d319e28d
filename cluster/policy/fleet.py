"""Machines, and the devices that a run needs."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from ftlab.formatting import counted
from ftlab.schemas import Resources

WHOLE_GPU = 1.0
NODE_ID_LABEL = "ray.io/node-id"
"""Set by Ray on every machine."""


@dataclass(frozen=True)
class Devices:
    """An amount of devices: whole CPU cores, and GPUs or a share of one."""

    cpus: int
    gpus: float

    def __add__(self, other: "Devices") -> "Devices":
        return Devices(self.cpus + other.cpus, self.gpus + other.gpus)

    def __str__(self) -> str:
        parts = [gpus_in_words(self.gpus)] if self.gpus else []
        parts += [counted(self.cpus, "CPU core")] if self.cpus or not parts else []
        return " and ".join(parts)


@dataclass(frozen=True)
class Node:
    """One machine, with what it gives to training."""

    id: str
    cpus: int
    gpus: int
    memory_bytes: int | None = None
    """Main memory that was available when Ray started there; `None` where it is not known."""
    gpu_type: str | None = None
    """Type of the GPUs in Ray's words, for example `H100`."""
    name: str = ""
    """Its host name, which stays when Ray gives it another id."""
    gpus_out: frozenset[int] = frozenset()
    """Numbers of the GPUs that kept failing, and that no run gets."""


@dataclass(frozen=True)
class Fleet:
    """All machines."""

    nodes: tuple[Node, ...]

    @classmethod
    def of_one(cls, cpus: int, gpus: int = 0) -> "Fleet":
        """A single machine."""
        return cls((Node("node", cpus, gpus),))

    @property
    def total(self) -> Devices:
        return Devices(sum(node.cpus for node in self.nodes), sum(node.gpus for node in self.nodes))

    @property
    def offered(self) -> Devices:
        """The devices without those that are taken out."""
        return Devices(self.total.cpus, self.total.gpus - self.num_out)

    @property
    def num_out(self) -> int:
        """How many GPUs are taken out."""
        return sum(len(node.gpus_out) for node in self.nodes)

    def without(self, gpus: Collection[tuple[str, int]]) -> "Fleet":
        """The machines with these GPUs taken out; each is the name of its machine and its number."""
        return Fleet(
            tuple(
                replace(node, gpus_out=frozenset(gpu for gpu in range(node.gpus) if (node.name, gpu) in gpus))
                for node in self.nodes
            )
        )

    def weigh(self, held: Devices) -> float:
        """Weight of held devices in a fair share: CPU cores, or where there are GPUs, GPUs.

        A machine's cores are then worth as much as its GPUs, so that a run that takes all cores counts like one that
        takes all GPUs.
        """
        total = self.total
        return max(held.gpus, held.cpus * total.gpus / total.cpus) if total.gpus and total.cpus else held.cpus


@dataclass(frozen=True)
class WorkerShape:
    """The processes of one run and what each of them holds."""

    num_workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    nodes: tuple[str, ...] = ()
    """The machine of each worker; empty where there is only one to choose from."""

    @property
    def total(self) -> Devices:
        return Devices(self.num_workers * self.cpus_per_worker, self.num_workers * self.gpus_per_worker)


@dataclass(frozen=True)
class Spot:
    """Place of one worker."""

    node: str
    gpu: int | None = None


Placement = tuple[Spot, ...]
"""One spot for each worker."""


def shape_of(resources: Resources, fleet: Fleet) -> WorkerShape:
    """Fill in the defaults: one GPU a worker where there are GPUs, else the cores shared out among the workers."""
    gpus = resources.gpus_per_worker
    if gpus is None:
        gpus = WHOLE_GPU if fleet.total.gpus else 0.0
    cpus = resources.cpus_per_worker or (1 if gpus else _even_share(fleet, resources.num_workers))
    return WorkerShape(resources.num_workers, cpus, gpus)


def on_nodes(shape: WorkerShape, placement: Placement, fleet: Fleet) -> WorkerShape:
    """The shape with its machines named, where there are several."""
    if len(fleet.nodes) == 1:
        return shape
    return replace(shape, nodes=tuple(spot.node for spot in placement))


def gpus_by_type(shape: WorkerShape, placement: Placement, fleet: Fleet) -> dict[str, float]:
    """The GPUs that a run holds, by their type; without those whose type is not known."""
    types = {node.id: node.gpu_type for node in fleet.nodes}
    held: dict[str, float] = {}
    for spot in placement:
        if shape.gpus_per_worker and (gpu_type := types.get(spot.node)) is not None:
            held[gpu_type] = held.get(gpu_type, 0.0) + shape.gpus_per_worker
    return held


def node_labels(shape: WorkerShape) -> list[dict[str, str]] | None:
    """The resources that bind each worker to the machine that the policy chose for it."""
    return [{NODE_ID_LABEL: node} for node in shape.nodes] or None


def gpus_in_words(gpus: float) -> str:
    if gpus == math.floor(gpus):
        return f"{gpus:.0f} GPU{'s' * (gpus != WHOLE_GPU)}"
    return f"{gpus:g} of a GPU" if gpus < WHOLE_GPU else f"{gpus:g} GPUs"


def _even_share(fleet: Fleet, num_workers: int) -> int:
    """The most cores that each of the workers can have at once; 1 where there are too many workers."""
    most = max((node.cpus for node in fleet.nodes), default=1)
    fitting = (cpus for cpus in range(most, 1, -1) if sum(node.cpus // cpus for node in fleet.nodes) >= num_workers)
    return next(fitting, 1)

"""Who runs next: pure functions over the queue and the devices, no clock, no database, no Ray."""

from collections.abc import Sequence
from dataclasses import dataclass

from ftlab.schemas import JobConfig, Resources


@dataclass(frozen=True)
class Devices:
    """An amount of devices, in whole CPU cores and GPUs."""

    cpus: int
    gpus: int

    def __sub__(self, other: "Devices") -> "Devices":
        return Devices(self.cpus - other.cpus, self.gpus - other.gpus)

    def __add__(self, other: "Devices") -> "Devices":
        return Devices(self.cpus + other.cpus, self.gpus + other.gpus)

    def covers(self, other: "Devices") -> bool:
        return self.cpus >= other.cpus and self.gpus >= other.gpus

    def __str__(self) -> str:
        # Less than nothing is free after the setting `cpus` was lowered while jobs run.
        cpus, gpus = max(0, self.cpus), max(0, self.gpus)
        parts = [f"{gpus} GPU{'s' * (gpus != 1)}"] if gpus else []
        parts += [f"{cpus} CPU core{'s' * (cpus != 1)}"] if cpus or not parts else []
        return " and ".join(parts)


@dataclass(frozen=True)
class WorkerShape:
    """The processes of one run and what each of them holds."""

    num_workers: int
    cpus_per_worker: int
    gpus_per_worker: int

    @property
    def total(self) -> Devices:
        return Devices(self.num_workers * self.cpus_per_worker, self.num_workers * self.gpus_per_worker)


@dataclass(frozen=True)
class QueuedJob:
    """What the policy needs to know about a job that waits. The queue is handed over in its order."""

    id: str
    config: JobConfig


@dataclass(frozen=True)
class Start:
    job_id: str
    shape: WorkerShape


@dataclass(frozen=True)
class Wait:
    job_id: str
    why: str


@dataclass(frozen=True)
class Refuse:
    """The job can never run here."""

    job_id: str
    why: str


Decision = Start | Wait | Refuse


def shape_of(resources: Resources, machine: Devices) -> WorkerShape:
    """Fill in the defaults: one GPU a worker where there are GPUs, else the cores shared out among the workers."""
    gpus = resources.gpus_per_worker
    if gpus is None:
        gpus = 1 if machine.gpus else 0
    share = 1 if gpus else max(1, machine.cpus // resources.num_workers)
    return WorkerShape(resources.num_workers, resources.cpus_per_worker or share, gpus)


def decide(queue: Sequence[QueuedJob], machine: Devices, free: Devices) -> list[Decision]:
    """First in, first out: the head of the queue starts when it fits; nobody overtakes it."""
    decisions: list[Decision] = []
    head_waits = False
    for job in queue:
        shape = shape_of(job.config.resources, machine)
        if not machine.covers(shape.total):
            decisions.append(
                Refuse(
                    job.id,
                    f"The job needs {shape.total}; this machine gives {machine} to training. Ask for less.",
                )
            )
        elif head_waits:
            decisions.append(Wait(job.id, "Waiting for the jobs ahead of it."))
        elif free.covers(shape.total):
            free -= shape.total
            decisions.append(Start(job.id, shape))
        else:
            head_waits = True
            decisions.append(Wait(job.id, f"Waiting for {shape.total}; {free} free."))
    return decisions

"""Samples as they travel from the samplers to the collector, and the interfaces between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ftlab.schemas.telemetry import GpuSample, HostSample
from tracking.store.records import JobRef


@dataclass(frozen=True)
class Watched:
    """What one attempt has on one machine."""

    pids: tuple[int, ...]
    """Its training processes."""
    gpus: tuple[int, ...] = ()
    """Numbers of its GPUs."""


WatchedAttempts = Mapping[JobRef, Watched]
"""What the live attempts have on one machine."""


@dataclass(frozen=True)
class Usage:
    """What the training processes of one attempt used on one machine."""

    had: Watched
    cpu_cores: float | None
    """Cores that were busy since the sample before; `None` for the first one."""
    memory_bytes: int


@dataclass(frozen=True)
class Sample:
    """One machine at one moment."""

    at: float
    """Seconds since the epoch, by the machine's clock."""
    host: HostSample
    gpus: tuple[GpuSample, ...] = ()
    attempts: Mapping[JobRef, Usage] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeSamples:
    """A live machine with its samples since the last look, oldest first."""

    id: str
    name: str
    samples: tuple[Sample, ...]


class NodeSamplers(Protocol):
    """The samplers of all machines."""

    def collect(self, watched: Mapping[str, WatchedAttempts]) -> list[NodeSamples]:
        """The samples that no earlier call has returned; from now on the attempts in `watched`, by node, are sampled.

        A machine whose sampler does not answer has no samples.
        """


class GpuReader(Protocol):
    """Reads the GPUs of this machine."""

    def read(self) -> list[GpuSample]:
        """One sample per GPU; one that cannot be read has an `error`. Never raises."""

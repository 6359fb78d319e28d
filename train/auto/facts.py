"""What the rules for `auto` are computed from: the lengths of the rows, the model, and the devices."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ftlab.schemas import JobConfig
from train.estimate.devices import GIB, Fit, fit
from train.estimate.memory import DeviceTraits, evaluation_peak, training_peak
from train.estimate.sharding import sharding_in_force, with_sharding
from train.model.shape import ModelShape

if TYPE_CHECKING:
    from train.data.tokens.row_lengths import RowLengths


@dataclass(frozen=True)
class Lengths:
    """The rows of a job's training datasets by their tokens, before anything is cut or packed."""

    num_rows: int
    """Rows of one epoch, without those that have no trained token."""
    counts: Mapping[int, float]
    """Rows by their number of tokens, scaled up from a sample: of a pair, the longer answer with its prompt; for
    `grpo`, the prompt."""
    num_counted: int
    """Rows that were really counted."""
    is_exact: bool
    """Whether all rows were counted, not only a sample."""

    @classmethod
    def of(cls, files: "Sequence[RowLengths]") -> "Lengths":
        """The lengths of all files; each counts by its rows, not by the size of its sample."""
        counts: dict[int, float] = {}
        for file in files:
            scale = file.num_sequences / max(1, sum(file.counts.values()))
            for tokens, number in file.counts.items():
                counts[tokens] = counts.get(tokens, 0.0) + scale * number
        return cls(
            num_rows=sum(file.num_sequences for file in files),
            counts=counts,
            num_counted=sum(sum(file.counts.values()) for file in files),
            is_exact=all(file.is_exact for file in files),
        )

    @cached_property
    def longest(self) -> int:
        return max(self.counts, default=0)

    def at_most(self, share: float) -> int:
        """Tokens that this share of the rows do not exceed; 0 without rows."""
        wanted, seen = share * sum(self.counts.values()), 0.0
        for tokens in sorted(self.counts):
            seen += self.counts[tokens]
            if seen >= wanted:
                return tokens
        return self.longest  # the sum was rounded

    def num_above(self, tokens: int) -> int:
        """Rows that are longer; at least 1 if any is."""
        return math.ceil(sum(number for length, number in self.counts.items() if length > tokens))

    def mean(self, most: int) -> float:
        """Mean tokens of a row once rows are cut to `most`; 0 without rows."""
        return sum(min(tokens, most) * number for tokens, number in self.counts.items()) / max(
            1.0, sum(self.counts.values())
        )


@dataclass(frozen=True)
class Device:
    """One kind of device that the job may get."""

    name: str
    """Type of the GPU as Ray names it, `GPU` where it has none, or `CPU`."""
    traits: DeviceTraits
    memory: tuple[int, int] | None
    """Bytes of one of them that the job may use: at least, and at most; `None` where that is not known."""
    processes: int = 1
    """Training processes of the job that share it."""
    cpus: int = 1
    """CPU cores of one training process."""

    @property
    def description(self) -> str:
        """The memory in GiB, and whose it is."""
        if self.memory is None:
            return f"the memory of {self.name}"
        shared = f", shared by {self.processes} processes" if self.processes > 1 else ""
        return f"{self.memory[0] / GIB:.1f} GiB ({self.name}{shared})"


@dataclass(frozen=True)
class Facts:
    """Everything that is known about a job when its settings are resolved."""

    shape: ModelShape | None = None
    """`None` for a model whose memory cannot be estimated."""
    max_positions: int | None = None
    """Tokens of the longest row that the model was made for; `None` where that is not known."""
    lengths: Lengths | None = None
    """`None` where no setting depends on them."""
    devices: tuple[Device, ...] = ()
    """Every kind of device that the job may get; empty where no setting depends on them."""
    correction: float = 1.0
    """Measured / computed memory of an earlier job of the same kind; below 1, the computed memory counts."""

    @property
    def tightest(self) -> Device:
        """The device with the least memory for one process; one of unknown memory comes first."""
        return min(self.devices, key=lambda device: device.memory[0] / device.processes if device.memory else 0)

    @property
    def use_cuda(self) -> bool:
        return any(device.traits.use_cuda for device in self.devices)

    @property
    def knows_memory(self) -> bool:
        return self.shape is not None and all(device.memory is not None for device in self.devices)

    def peak_bytes(self, config: JobConfig, length: int, device: Device) -> int:
        """The computed peak of one process, corrected, with rows of `length` tokens."""
        assert self.shape is not None, "the caller has checked knows_memory"
        sharding = sharding_in_force(
            config, self.shape, length, device.traits, device.memory, max(1.0, self.correction)
        )
        config = with_sharding(config, sharding)
        peaks = [training_peak(self.shape, config, length, device.traits).total]
        if config.has_evaluation:
            peaks.append(evaluation_peak(self.shape, config, length, device.traits).total)
        return math.ceil(max(peaks) * max(1.0, self.correction))

    def fit_of(self, config: JobConfig, length: int) -> Fit:
        """Whether the job fits every device that it may get: the worst answer of them."""
        found = set()
        for device in self.devices:
            if self.shape is None or device.memory is None:
                found.add(Fit.UNKNOWN)
            else:
                found.add(fit(self.peak_bytes(config, length, device) * device.processes, device.memory))
        return next((worst for worst in (Fit.DOES_NOT_FIT, Fit.UNKNOWN) if worst in found), Fit.FITS)

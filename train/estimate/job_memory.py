"""What the memory of one job is computed from: its base model, its rows and its device. A run writes it down."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftlab.schemas import GrpoMethod, JobConfig
from ftlab.status import Phase
from train.estimate.memory import DeviceTraits, evaluation_peak, training_peak
from train.model.shape import ModelShape

FILE = "memory.json"
"""Name of the file in the job's folder."""


@dataclass(frozen=True)
class JobMemory:
    """The inputs of the estimate, as a run found them."""

    shape: ModelShape
    traits: DeviceTraits
    memory_bytes: int
    """Memory of the device, or of the machine where there is none."""
    lengths: Mapping[int, int]
    """Prepared training rows by their number of tokens."""
    eval_longest: int = 0
    """Tokens of the longest row to evaluate on; 0 without such rows."""
    processes: int = 1
    """Training processes of the job that share the memory."""
    correction: float = 1.0
    """Measured / computed memory of the memory probe of this job."""

    @classmethod
    def read(cls, job_folder: Path) -> "JobMemory | None":
        """What a run of the job wrote; `None` where none came as far, or its model cannot be estimated."""
        try:
            return cls.from_document(json.loads((job_folder / FILE).read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "JobMemory":
        """Undo `to_document`."""
        shape = document["shape"]
        linears = {name: (widths[0], widths[1]) for name, widths in shape["linears"].items()}
        lengths = {int(tokens): int(number) for tokens, number in document["lengths"].items()}
        traits = document["traits"] | {"capability": tuple(document["traits"]["capability"])}
        parts = {"shape": ModelShape(**shape | {"linears": linears}), "traits": DeviceTraits(**traits)}
        return cls(**{**document, **parts, "lengths": lengths})

    def to_document(self) -> dict[str, Any]:
        """The inputs as JSON values."""
        return asdict(self)

    def write(self, job_folder: Path) -> None:
        """Write the file that `read` reads. Raises `OSError`."""
        (job_folder / FILE).write_text(json.dumps(self.to_document()), "utf-8")

    def length(self, config: JobConfig) -> int:
        """Tokens of the longest row that a step of this config trains."""
        longest = max(self.lengths, default=0)
        if isinstance(config.method, GrpoMethod):
            return min(config.method.max_length, longest + config.method.max_completion_length)
        return config.method.max_length if config.method.packing or not longest else longest

    def peak(self, config: JobConfig, length: int, phase: Phase | None) -> int:
        """The peak of what a run does in a phase; that of a training step where the phase has no formula."""
        if phase is Phase.EVALUATING:
            return self.evaluation_bytes(config, length)
        if phase is Phase.LOADING:
            return self._scaled(training_peak(self.shape, config, length, self.traits).weights)
        return self.training_bytes(config, length)

    def training_bytes(self, config: JobConfig, length: int) -> int:
        """Peak of a training step of all processes that share the memory."""
        return self._scaled(training_peak(self.shape, config, length, self.traits).total)

    def evaluation_bytes(self, config: JobConfig, length: int) -> int:
        """Peak of an evaluation, likewise."""
        longest = min(self.eval_longest or length, config.method.max_length)
        return self._scaled(evaluation_peak(self.shape, config, longest, self.traits).total)

    def _scaled(self, peak: int) -> int:
        return round(peak * self.correction) * self.processes

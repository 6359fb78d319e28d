"""What every row is handed: the service, a folder, and how thorough to be."""

from dataclasses import dataclass
from pathlib import Path

from tests.bench.service import Service

PAIRS = 5
QUICK_PAIRS = 2


@dataclass(frozen=True)
class Bench:
    service: Service
    folder: Path
    """For files of the rows, on the disk of the service's home."""
    quick: bool = False
    real: Path | None = None
    """A model folder for row 1, besides the random model."""

    @property
    def pairs(self) -> int:
        return QUICK_PAIRS if self.quick else PAIRS

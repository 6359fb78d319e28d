"""What every row is handed: the service, a folder, and how thorough to be."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.harness import BenchError
from tests.bench.service import Service

PAIRS = 5
QUICK_PAIRS = 2


@dataclass(frozen=True)
class Bench:
    given_service: Service | None
    """`None` where no row that was chosen needs one."""
    folder: Path
    """For files of the rows; where there is a service, on the disk of its home."""
    quick: bool = False
    real: Path | None = None
    """A model folder for row 1, besides the random model."""
    llamafactory: Path | None = None
    """The Python of an environment with LLaMA-Factory, for the row `peers`."""
    ingress: str = "haproxy"
    """HTTP front of a service that a row starts for itself."""
    pairs: int = PAIRS
    """How often ours and the baseline are measured in turn."""

    @property
    def service(self) -> Service:
        """For rows without `NEEDS_SERVICE = False`."""
        if self.given_service is None:
            raise BenchError("This row needs a service.")
        return self.given_service

    @contextmanager
    def without_service(self) -> Iterator[None]:
        """For what needs the machine for itself."""
        if self.given_service is None:
            yield
            return
        with self.given_service.away():
            yield

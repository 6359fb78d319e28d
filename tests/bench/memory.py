"""Memory of other processes or of a GPU, sampled while something runs."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SAMPLE_INTERVAL_S = 0.02
MB = 1_000_000


@dataclass
class Growth:
    """What was in use before, and at most since."""

    before_bytes: int
    peak_bytes: int

    @property
    def mb(self) -> float:
        return max(0, self.peak_bytes - self.before_bytes) / MB


def watch(pids: Sequence[int]) -> AbstractContextManager[Growth]:
    """Sample the processes' resident memory until the end of the block."""
    return sampled(lambda: resident_bytes(pids), SAMPLE_INTERVAL_S)


@contextmanager
def sampled(read: Callable[[], int], interval_s: float) -> Iterator[Growth]:
    """Sample the bytes that `read` returns until the end of the block."""
    growth = Growth(read(), 0)
    done = threading.Event()

    def sample() -> None:
        while not done.wait(interval_s):
            growth.peak_bytes = max(growth.peak_bytes, read())

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield growth
    finally:
        done.set()
        sampler.join()


def resident_bytes(pids: Sequence[int]) -> int:
    """Together; a process that has ended counts nothing."""
    total = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            total += int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return total * os.sysconf("SC_PAGE_SIZE")

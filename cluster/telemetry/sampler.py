"""The sampler of one machine."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from cluster.telemetry.amd_reader import find_amd
from cluster.telemetry.host_reader import HostReader, ProcessReader
from cluster.telemetry.nvml_reader import find_nvml
from cluster.telemetry.samples import GpuReader, Sample, WatchedAttempts

INTERVAL_S = 1.0
KEPT_SAMPLES = 900
"""Samples that wait for the collector: a quarter of an hour."""

logger = logging.getLogger(__name__)


class Sampler:
    """Samples this machine once a second, in a thread of its own, and keeps the samples until they are taken.

    Nothing waits for it: a GPU driver that hangs stops the samples and nothing else.
    """

    def __init__(
        self,
        gpu_reader: GpuReader | None = None,
        host_reader: HostReader | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gpu_reader = gpu_reader
        self._host_reader = host_reader or HostReader()
        self._processes = ProcessReader()
        self._clock = clock
        self._watched: WatchedAttempts = {}
        self._samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)

    def start(self) -> None:
        """Begin to sample; returns at once."""
        threading.Thread(target=self._run, name="ftlab-sampler", daemon=True).start()

    def take(self, watched: WatchedAttempts) -> tuple[Sample, ...]:
        """The samples since the last call; from now on these attempts are sampled."""
        self._watched = watched
        taken = []
        while self._samples:
            taken.append(self._samples.popleft())
        return tuple(taken)

    def sample(self) -> None:
        """Take one sample."""
        host = self._host_reader.read()
        gpus = tuple(self._gpu_reader.read()) if self._gpu_reader is not None else ()
        self._samples.append(Sample(self._clock(), host, gpus, self._processes.read(self._watched)))

    def _run(self) -> None:
        next_at = time.monotonic()
        while True:
            try:
                self.sample()
            except Exception:  # an edge: whatever goes wrong in one sample, the next one is needed
                logger.exception("A sample of this machine could not be taken")
            # A sample that took longer than the interval is not caught up with.
            next_at = max(next_at + INTERVAL_S, time.monotonic())
            time.sleep(max(0.0, next_at - time.monotonic()))


def find_gpu_reader() -> GpuReader | None:
    """The reader of this machine's GPUs; `None` on one without."""
    return find_nvml() or find_amd()

"""What the processes of the API count: requests and streams.

A scrape reaches any one replica. The replicas of a service run on one machine and share a folder, in which each keeps
its counts in a memory-mapped file (the multiprocess mode of prometheus_client); the replica that is asked adds them up.
The counts of a replica that has ended stay, so that sums never decrease while the service runs.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    multiprocess,
    values,
)

from ftlab.settings import Settings

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
DURATION_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LIVE_FILES = "gauge_live*_*.db"

disable_created_metrics()  # type: ignore[no-untyped-call]


def metrics_folder(settings: Settings) -> Path:
    """The folder that the replicas of a service share."""
    return settings.home / "run" / "metrics"


def forget_earlier_counts(settings: Settings) -> None:
    """Remove the counts of processes that have ended, before the service starts replicas."""
    for file in metrics_folder(settings).glob("*.db"):
        if not psutil.pid_exists(_pid_of(file)):
            file.unlink(missing_ok=True)


class ProcessMetrics:
    """Counters of this process; with a folder, also those of all other processes that share it."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            os.environ[FOLDER_VARIABLE] = str(folder)
            # Chosen by the variable when the library is imported, which may have happened before.
            values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ftlab_http_requests",
            "HTTP requests that were answered, by route and status.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._durations = Histogram(
            "ftlab_http_request_duration_seconds",
            "Time from a request to the end of its reply; streams are not included.",
            ["method", "route"],
            buckets=DURATION_BUCKETS_S,
            registry=self._registry,
        )
        self._streams = Gauge(
            "ftlab_streams",
            "Live streams that are open.",
            ["kind"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._streams_closed = Counter(
            "ftlab_streams_closed",
            "Live streams that have ended, by why.",
            ["kind", "reason"],
            registry=self._registry,
        )

    def count_request(self, method: str, route: str, status: int, duration_s: float | None) -> None:
        """Count a request; one without a duration is a stream."""
        self._requests.labels(method, route, str(status)).inc()
        if duration_s is not None:
            self._durations.labels(method, route).observe(duration_s)

    @contextmanager
    def stream(self, kind: str) -> Iterator[None]:
        """Count a stream as open."""
        gauge = self._streams.labels(kind)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    def count_closed_stream(self, kind: str, reason: str) -> None:
        self._streams_closed.labels(kind, reason).inc()

    def collect(self) -> Iterable[Metric]:
        """The counts of all processes."""
        if self._folder is None:
            return self._registry.collect()
        self._forget_ended_processes(self._folder)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        return registry.collect()

    def _forget_ended_processes(self, folder: Path) -> None:
        """The open streams of a process that was killed count no more."""
        for file in folder.glob(LIVE_FILES):
            if not psutil.pid_exists(_pid_of(file)):
                multiprocess.mark_process_dead(_pid_of(file), str(folder))  # type: ignore[no-untyped-call]


def _pid_of(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])

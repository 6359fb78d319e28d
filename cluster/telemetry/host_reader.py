"""Reads the load of this machine, and of training processes on it, through psutil."""

import time
from collections.abc import Callable, Iterable

import psutil

from cluster.telemetry.samples import Usage, WatchedAttempts
from ftlab.schemas.telemetry import HostSample
from tracking.store.records import JobRef


class HostReader:
    """Reads the machine. Counters of the system become rates, so the first sample has none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counters: dict[str, int] = {}
        self._counted_at = 0.0
        psutil.cpu_percent(None)  # from here on, it gives the load since the call before

    def read(self) -> HostSample:
        memory = psutil.virtual_memory()
        rates = self._rates()
        return HostSample(
            cpu_percent=psutil.cpu_percent(None),
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            disk_read_bytes_per_s=rates.get("disk_read"),
            disk_write_bytes_per_s=rates.get("disk_write"),
            network_received_bytes_per_s=rates.get("network_received"),
            network_sent_bytes_per_s=rates.get("network_sent"),
        )

    def _rates(self) -> dict[str, float]:
        now, counters = self._clock(), _counters()
        elapsed_s = now - self._counted_at
        rates = {
            name: max(0.0, (count - self._counters[name]) / elapsed_s)
            for name, count in counters.items()
            if name in self._counters and elapsed_s > 0
        }
        self._counters, self._counted_at = counters, now
        return rates


class ProcessReader:
    """Reads the processor time and the memory of training processes."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._cpu_s: dict[JobRef, float] = {}
        self._read_at = 0.0

    def read(self, watched: WatchedAttempts) -> dict[JobRef, Usage]:
        """Usage of each attempt, without those of which no process is left."""
        now = time.monotonic()
        elapsed_s = now - self._read_at
        self._keep(pid for had in watched.values() for pid in had.pids)
        found: dict[JobRef, Usage] = {}
        cpu_s: dict[JobRef, float] = {}
        for attempt, had in watched.items():
            usage = [each for pid in had.pids if (each := self._usage(pid)) is not None]
            if usage:
                cpu_s[attempt] = sum(each[0] for each in usage)
                before = self._cpu_s.get(attempt)
                cores = None if before is None or elapsed_s <= 0 else max(0.0, (cpu_s[attempt] - before) / elapsed_s)
                found[attempt] = Usage(had, cores, sum(each[1] for each in usage))
        self._cpu_s, self._read_at = cpu_s, now
        return found

    def _keep(self, pids: Iterable[int]) -> None:
        """Look up the processes that are new, and forget those that are no longer asked for."""
        known, self._processes = self._processes, {}
        for pid in pids:
            try:
                self._processes[pid] = known.get(pid) or psutil.Process(pid)
            except psutil.Error:
                continue

    def _usage(self, pid: int) -> tuple[float, int] | None:
        """Seconds of processor time and resident bytes; `None` once the process has ended."""
        process = self._processes.get(pid)
        if process is None:
            return None
        try:
            with process.oneshot():
                times = process.cpu_times()
                return times.user + times.system, process.memory_info().rss
        except psutil.Error:
            return None


def _counters() -> dict[str, int]:
    """Bytes since the machine started, without those that the system does not count. The loopback does not count."""
    found: dict[str, int] = {}
    disk = psutil.disk_io_counters()
    if disk is not None:
        found |= {"disk_read": disk.read_bytes, "disk_write": disk.write_bytes}
    links = [link for name, link in psutil.net_io_counters(pernic=True).items() if not name.startswith("lo")]
    if links:
        found["network_received"] = sum(link.bytes_recv for link in links)
        found["network_sent"] = sum(link.bytes_sent for link in links)
    return found

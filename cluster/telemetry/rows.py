"""Turns samples into the series that are stored: of machines, of their GPUs, and of what attempts had of them."""

from collections.abc import Sequence

from cluster.telemetry.samples import Sample, Usage
from ftlab.schemas.telemetry import PROCESSES, GpuSample, HostSample
from tracking.store.telemetry import SeriesKey
from tracking.store.telemetry_points import Points, from_readings

HOST = "host"
HOST_SERIES = tuple(name for name in HostSample.model_fields if name != "memory_total_bytes")
GPU_SERIES = (
    "utilization_percent",
    "memory_used_bytes",
    "memory_reserved_bytes",
    "memory_total_bytes",
    "temperature_celsius",
    "power_watts",
    "clock_mhz",
    "memory_clock_mhz",
)

Readings = dict[str, float | None]


def to_rows(node: str, samples: Sequence[Sample]) -> dict[SeriesKey, Points]:
    """The points of every series that the samples of a machine have."""
    found: dict[SeriesKey, list[tuple[float, Readings]]] = {}
    for sample in samples:
        for key, readings in _readings(node, sample).items():
            found.setdefault(key, []).append((sample.at, readings))
    return {key: from_readings(readings) for key, readings in found.items()}


def _readings(node: str, sample: Sample) -> dict[SeriesKey, Readings]:
    found = {SeriesKey(node, HOST): {name: getattr(sample.host, name) for name in HOST_SERIES}}
    gpus = {gpu.index: gpu for gpu in sample.gpus}
    for gpu in sample.gpus:
        found[SeriesKey(node, device_name(gpu.index))] = _of_gpu(gpu)
    for ref, usage in sample.attempts.items():
        processes = {"cpu_cores": usage.cpu_cores, "memory_bytes": float(usage.memory_bytes)}
        found[SeriesKey(node, PROCESSES, ref.id, ref.attempt)] = processes
        for index in usage.had.gpus:
            if index in gpus:
                key = SeriesKey(node, device_name(index), ref.id, ref.attempt)
                found[key] = _of_gpu(gpus[index]) | {"process_memory_bytes": _memory_of(usage, gpus[index])}
    return found


def device_name(gpu: int) -> str:
    return f"gpu-{gpu}"


def _of_gpu(gpu: GpuSample) -> Readings:
    """A GPU that cannot be read has no values. Each reason why its clock is throttled is a series of 1 and `None`."""
    throttled: Readings = {f"throttled_{reason}": 1.0 for reason in gpu.throttle_reasons}
    return {name: getattr(gpu, name) for name in GPU_SERIES} | throttled


def _memory_of(usage: Usage, gpu: GpuSample) -> float | None:
    """Bytes that the attempt's processes have on the GPU; `None` in a container whose process ids differ."""
    own = [each.memory_bytes for each in gpu.processes if each.pid in usage.had.pids]
    known = [size for size in own if size is not None]
    return float(sum(known)) if known else None

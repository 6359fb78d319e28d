"""The load of machines, GPUs and jobs in words, for the commands and the terminal monitor."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftlab.formatting import counted, size, used_of

if TYPE_CHECKING:
    from ftlab.schemas import DeviceSeries, GpuSample, HostSample, JobTelemetry, NodeStatus
    from ftlab.schemas.telemetry import HeldDevices

COLUMNS = ("NODE", "DEVICE", "LOAD", "MEMORY", "TEMPERATURE", "POWER", "STATE", "JOBS")
OTHER_OWNER = "another owner's job"


def node_rows(node: "NodeStatus") -> Iterator[tuple[str, ...]]:
    """Cells for `COLUMNS`: one row for the machine's processors, and one for each GPU."""
    yield node.name, cores_of(node), *_host_cells(node.host), job_names(node.jobs)
    for gpu in node.devices:
        name = f"GPU {gpu.index} {gpu.name or ''}".rstrip()
        yield (
            node.name,
            name,
            *_gpu_cells(gpu, is_out=is_out(node, gpu)),
            job_names([job for job in node.jobs if gpu.index in job.gpus]),
        )


def is_out(node: "NodeStatus", gpu: "GpuSample") -> bool:
    """Whether no job gets the GPU, because one job after another failed on it."""
    return any(out.gpu == gpu.index for out in node.gpus_out)


def cores_of(node: "NodeStatus") -> str:
    """`8 cores`; without the number where it is not known, and on a machine that does not train."""
    if not node.cpus:
        return "processors"
    return counted(node.cpus, "core")


def job_names(jobs: "list[HeldDevices]") -> str:
    return ", ".join(job.job_name or OTHER_OWNER for job in jobs)


def load_lines(telemetry: "JobTelemetry") -> Iterator[str]:
    """The newest points: `GPU 0 on alpha: 90 %, 30.0 of 85.9 GB, 512 W`, `1.9 cores, 512.0 MB on alpha`."""
    from ftlab.schemas.telemetry import PROCESSES

    for series in telemetry.data:
        newest = {name: spread.mean[-1] for name, spread in series.values.items() if spread.mean}
        if series.device == PROCESSES:
            cores, memory = newest.get("cpu_cores"), newest.get("memory_bytes")
            parts = ("" if cores is None else f"{cores:.1f} cores", "" if memory is None else size(int(memory)))
            yield f"{', '.join(filter(None, parts))} on {series.node}"
        else:
            yield f"{_device_name(series)}: {', '.join(filter(None, _newest_of_gpu(newest))) or 'cannot be read'}"


def _device_name(series: "DeviceSeries") -> str:
    return f"{series.device.replace('gpu-', 'GPU ')} on {series.node}"


def _newest_of_gpu(newest: dict[str, float | None]) -> tuple[str, ...]:
    used, total = newest.get("memory_used_bytes"), newest.get("memory_total_bytes")
    memory = "" if used is None or total is None else used_of(int(used), int(total))
    return _with_unit(newest.get("utilization_percent"), "%"), memory, _with_unit(newest.get("power_watts"), "W")


def _host_cells(host: "HostSample | None") -> tuple[str, ...]:
    if host is None:
        return "", "", "", "", "not sampled yet"
    return _with_unit(host.cpu_percent, "%"), used_of(host.memory_used_bytes, host.memory_total_bytes), "", "", ""


def _gpu_cells(gpu: "GpuSample", *, is_out: bool) -> tuple[str, ...]:
    return (
        _with_unit(gpu.utilization_percent, "%"),
        used_of(gpu.memory_used_bytes, gpu.memory_total_bytes),
        _with_unit(gpu.temperature_celsius, "°C"),
        _with_unit(gpu.power_watts, "W"),
        "; ".join(filter(None, ("taken out" if is_out else "", gpu.error or gpu.throttled))),
    )


def _with_unit(value: float | None, unit: str) -> str:
    """`512 W`; empty for `None`."""
    return "" if value is None else f"{value:.0f} {unit}"

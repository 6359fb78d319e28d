"""Machines and GPUs as lines: in the header, and as a list."""

from collections.abc import Sequence

from ftlab.cli.device_text import cores_of, is_out, job_names
from ftlab.cli.text import fitted
from ftlab.formatting import used_of
from ftlab.schemas import GpuSample, NodeStatus
from ftlab.tui.braille import bar
from ftlab.tui.spans import Line, fitted_line, joined, line

NAME_WIDTH = 22
BAR_WIDTH = 10
HOT_PERCENT = 90


def devices_line(nodes: Sequence[NodeStatus]) -> Line:
    """`GPUs 3/8`: how many are held by jobs, of all; `CPU 42 %` where there are none; empty where it is not known."""
    num_gpus = sum(node.gpus for node in nodes)
    if num_gpus:
        num_held = sum(len({gpu for job in node.jobs for gpu in job.gpus}) for node in nodes)
        return line(("GPUs ", "muted"), f"{num_held}/{num_gpus}")
    loads = [node.host.cpu_percent for node in nodes if node.host is not None and node.host.cpu_percent is not None]
    return line(("CPU ", "muted"), f"{sum(loads) / len(loads):.0f} %") if loads else ()


def node_lines(nodes: Sequence[NodeStatus], width: int) -> list[Line]:
    """For each machine a line of its processors, one of each GPU, and the jobs below the device that they hold."""
    if not nodes:
        return [line(("The machines are not known yet.", "muted"))]
    lines: list[Line] = []
    for node in nodes:
        lines += [*_of_node(node), ()]
    return [fitted_line(each, width) for each in lines]


def _of_node(node: NodeStatus) -> list[Line]:
    host = node.host
    lines = [line((node.name, "strong"), ("" if host else "  not sampled yet", "muted"))]
    load, memory = (host.cpu_percent, used_of(host.memory_used_bytes, host.memory_total_bytes)) if host else (None, "")
    lines.append(_device(cores_of(node), load, (memory,)))
    if not node.devices:
        lines += _below(job_names(node.jobs), "")
    for gpu in node.devices:
        lines.append(_of_gpu(gpu))
        out = "taken out because of failures" if is_out(node, gpu) else ""
        warning = ", ".join(filter(None, (out, gpu.throttled)))
        lines += _below(job_names([job for job in node.jobs if gpu.index in job.gpus]), warning)
    lines += [line(("    ", ""), (f"GPU {out.gpu}: {out.reason}", "warning")) for out in node.gpus_out]
    return lines


def _of_gpu(gpu: GpuSample) -> Line:
    name = f"GPU {gpu.index} {gpu.name or ''}".rstrip()
    if gpu.error:
        return line(("  " + fitted(name, NAME_WIDTH), ""), " ", (gpu.error, "error"))
    values = (
        used_of(gpu.memory_used_bytes, gpu.memory_total_bytes),
        "" if gpu.temperature_celsius is None else f"{gpu.temperature_celsius:.0f} °C",
        "" if gpu.power_watts is None else f"{gpu.power_watts:.0f} W",
    )
    return _device(name, gpu.utilization_percent, values)


def _device(name: str, percent: float | None, values: Sequence[str]) -> Line:
    """The name, a bar with the load, and further values."""
    head = line("  " + fitted(name, NAME_WIDTH), " ")
    if percent is None:
        return (*head, *line(("load not known", "muted"), "  " + "  ".join(filter(None, values))))
    filled, rest = bar(percent / 100, BAR_WIDTH)
    role = "warning" if percent >= HOT_PERCENT else "good"
    return (*head, *line((filled, role), (rest, "muted"), f" {percent:3.0f} %  ", "  ".join(filter(None, values))))


def _below(names: str, warning: str) -> list[Line]:
    """The jobs that hold a device, and what is wrong with it; no line without either."""
    found = joined([line((names, "accent")), line((warning, "warning"))])
    return [(("    ", ""), *found)] if found else []

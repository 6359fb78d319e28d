"""Metrics of machines and GPUs: their newest samples."""

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from cluster.telemetry.client import Newest, TelemetryClient
from cluster.telemetry.samples import Sample
from ftlab.schemas.telemetry import GpuSample

PERCENT = 100.0
HERTZ_PER_MHZ = 1e6


class _Gauges:
    """Gauges with the same labels, to which the machines are added one after the other."""

    def __init__(self, *labels: str) -> None:
        self._labels = list(labels)
        self.found: dict[str, GaugeMetricFamily] = {}

    def define(self, name: str, text: str) -> None:
        self.found[name] = GaugeMetricFamily(name, text, labels=self._labels)

    def add(self, labels: list[str], values: dict[str, float | None]) -> None:
        """Values of one machine or GPU; one that is not known is left out."""
        for name, value in values.items():
            if value is not None:
                self.found[name].add_metric(labels, value)


def device_metrics(telemetry: TelemetryClient) -> list[Metric]:
    """Gauges of all machines and GPUs; without a sample while the actor with the telemetry does not answer. Blocks."""
    newest: Newest = telemetry.newest() or {}
    sampled = {name: sample for name, sample in newest.values() if sample is not None}
    return [*_of_nodes(sampled), *_of_gpus(sampled)]


def _of_nodes(sampled: dict[str, Sample]) -> list[Metric]:
    gauges = _Gauges("node")
    gauges.define("ftlab_node_cpu_utilization_ratio", "Busy share of the machine's cores, 0 to 1.")
    gauges.define("ftlab_node_memory_used_bytes", "Used memory of the machine.")
    gauges.define("ftlab_node_memory_bytes", "Memory of the machine.")
    for node, sample in sampled.items():
        host = sample.host
        values = {
            "ftlab_node_cpu_utilization_ratio": _ratio(host.cpu_percent),
            "ftlab_node_memory_used_bytes": host.memory_used_bytes,
            "ftlab_node_memory_bytes": host.memory_total_bytes,
        }
        gauges.add([node], values)
    return list(gauges.found.values())


def _of_gpus(sampled: dict[str, Sample]) -> list[Metric]:
    gauges = _Gauges("node", "gpu")
    gauges.define("ftlab_gpu_up", "Whether the GPU can be read: 1 or 0.")
    gauges.define("ftlab_gpu_utilization_ratio", "Share of the time in which the GPU ran a kernel, 0 to 1.")
    gauges.define("ftlab_gpu_memory_used_bytes", "Used memory of the GPU.")
    gauges.define("ftlab_gpu_memory_bytes", "Memory of the GPU.")
    gauges.define("ftlab_gpu_temperature_celsius", "Temperature of the GPU.")
    gauges.define("ftlab_gpu_power_watts", "Power that the GPU draws.")
    gauges.define("ftlab_gpu_clock_hertz", "Clock of the GPU's compute units.")
    throttled = GaugeMetricFamily(
        "ftlab_gpu_throttled", "1 while the GPU's clock is held back for this reason.", labels=["node", "gpu", "reason"]
    )
    for node, sample in sampled.items():
        for gpu in sample.gpus:
            gauges.add([node, str(gpu.index)], _values_of(gpu))
            for reason in gpu.throttle_reasons:
                throttled.add_metric([node, str(gpu.index), reason], 1)
    return [*gauges.found.values(), throttled]


def _values_of(gpu: GpuSample) -> dict[str, float | None]:
    return {
        "ftlab_gpu_up": float(gpu.error is None),
        "ftlab_gpu_utilization_ratio": _ratio(gpu.utilization_percent),
        "ftlab_gpu_memory_used_bytes": gpu.memory_used_bytes,
        "ftlab_gpu_memory_bytes": gpu.memory_total_bytes,
        "ftlab_gpu_temperature_celsius": gpu.temperature_celsius,
        "ftlab_gpu_power_watts": gpu.power_watts,
        "ftlab_gpu_clock_hertz": None if gpu.clock_mhz is None else gpu.clock_mhz * HERTZ_PER_MHZ,
    }


def _ratio(percent: float | None) -> float | None:
    return None if percent is None else percent / PERCENT

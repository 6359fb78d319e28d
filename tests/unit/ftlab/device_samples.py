"""A GPU that is throttled, and one that the driver has lost."""

from ftlab.schemas import GpuSample

GPU = GpuSample(
    index=0,
    name="NVIDIA H100",
    utilization_percent=90,
    memory_used_bytes=30 * 10**9,
    memory_total_bytes=80 * 10**9,
    temperature_celsius=64,
    power_watts=512.3,
    throttle_reasons=["power"],
)
LOST = GpuSample(index=1, error="The driver has lost GPU 1: GPU is lost")

"""The machine of the scene, with two GPUs of which one is throttled, and what its runs did with them."""

import math
import random
from datetime import datetime, timedelta

from cluster.telemetry.client import Newest
from cluster.telemetry.samples import Sample
from ftlab.schemas.telemetry import GpuProcess, GpuSample, HostSample
from tracking.store import Transaction
from tracking.store.records import JobRef
from tracking.store.telemetry import SeriesKey
from tracking.store.telemetry_points import from_readings

NODE_ID, NODE = "node-1", "gpu-box"
GPU_BYTES = 80 * 1024**3
PLACEMENT = [(NODE_ID, 0)]
GPUS_OF_WORKER = [(NODE_ID, (0,))]
_RANDOM = random.Random(5)


def machines(at: datetime) -> Newest:
    """The newest sample of the machine; a run trains on its first GPU."""
    host = HostSample(
        cpu_percent=31.0 + 4 * math.sin(at.timestamp() / 7),
        memory_used_bytes=22 * 1024**3,
        memory_total_bytes=256 * 1024**3,
        disk_write_bytes_per_s=3.1e6,
        network_received_bytes_per_s=45e3,
    )
    first = {"index": 0, "throttle_reasons": ["power"], "processes": [GpuProcess(pid=4711, memory_bytes=int(31e9))]}
    readings = _gpu(at.timestamp())
    gpus = (
        GpuSample(
            name="NVIDIA H100 80GB HBM3", power_limit_watts=700, memory_total_bytes=GPU_BYTES, **first, **readings
        ),
        GpuSample(index=1, error="The driver has lost GPU 1: GPU is lost"),
    )
    return {NODE_ID: (NODE, Sample(at.timestamp(), host, gpus))}


def add_load(tx: Transaction, ref: JobRef, begin: datetime, num_seconds: int) -> None:
    """Points of a run on the first GPU, one a second."""
    seconds = [(begin + timedelta(seconds=number)).timestamp() for number in range(num_seconds)]
    gpu = [(at, {**_gpu(at), "memory_total_bytes": float(GPU_BYTES)}) for at in seconds]
    processes = [(at, {"cpu_cores": 1.6 + _RANDOM.gauss(0, 0.2), "memory_bytes": 5.2e9}) for at in seconds]
    for device, readings in (("gpu-0", gpu), ("processes", processes)):
        tx.telemetry.add(SeriesKey(NODE, device, ref.id, ref.attempt), from_readings(readings))


def add_history(tx: Transaction, begin: datetime, num_seconds: int) -> None:
    """The load of the machine over time, one point a second."""
    seconds = [(begin + timedelta(seconds=number)).timestamp() for number in range(num_seconds)]
    host = [(at, {"cpu_percent": 55 + 20 * math.sin(at / 20)}) for at in seconds]
    tx.telemetry.add(SeriesKey(NODE, "host"), from_readings(host))


def _gpu(at: float) -> dict[str, float]:
    load = min(100.0, max(0.0, 93 + 3 * math.sin(at / 11) + _RANDOM.gauss(0, 1.5)))
    return {
        "utilization_percent": round(load),
        "memory_used_bytes": int(31.4e9),
        "temperature_celsius": round(61 + 4 * math.sin(at / 40)),
        "power_watts": round(5.4 * load + _RANDOM.gauss(0, 8)),
        "clock_mhz": 1755,
    }

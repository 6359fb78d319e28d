"""Reads NVIDIA GPUs through NVML (the package nvidia-ml-py, whose module is `pynvml`)."""

import logging
from collections.abc import Callable
from typing import Any

from ftlab.schemas.telemetry import GpuProcess, GpuSample

THROTTLE_REASONS = {
    "SwPowerCap": "power",
    "HwPowerBrakeSlowdown": "power",
    "SwThermalSlowdown": "temperature",
    "HwThermalSlowdown": "temperature",
    "HwSlowdown": "hardware",
    "SyncBoost": "sync",
}
"""NVML's bits by the end of their constants' names. Idleness and clocks that somebody has set do not throttle."""
MILLIWATTS = 1000.0

logger = logging.getLogger(__name__)


class _GpuLostError(Exception):
    """The driver has lost the GPU."""


class NvmlReader:
    """A `GpuReader` over an initialised `pynvml`, which a test replaces."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._has_memory_v2 = True
        self._throttle_bits = {
            int(getattr(nvml, f"nvmlClocksEventReason{name}")): reason for name, reason in THROTTLE_REASONS.items()
        }
        self._lost = (nvml.NVMLError_GpuIsLost, nvml.NVMLError_ResetRequired)

    def read(self) -> list[GpuSample]:
        count = self._ask(self._nvml.nvmlDeviceGetCount) or 0
        return [self._read_one(index) for index in range(count)]

    def _read_one(self, index: int) -> GpuSample:
        nvml = self._nvml
        try:
            # The handle is asked for every time: it is cheap, and a handle of a GPU that was reset is invalid.
            gpu = nvml.nvmlDeviceGetHandleByIndex(index)
            return self._sample(index, gpu)
        except (*self._lost, _GpuLostError) as error:
            return GpuSample(index=index, error=f"The driver has lost GPU {index}: {error}")
        except nvml.NVMLError as error:
            return GpuSample(index=index, error=f"The driver gives no access to GPU {index}: {error}")

    def _sample(self, index: int, gpu: Any) -> GpuSample:
        nvml = self._nvml
        used, reserved, total = self._memory(gpu)
        utilization = self._ask(nvml.nvmlDeviceGetUtilizationRates, gpu)
        power, limit = (
            self._ask(nvml.nvmlDeviceGetPowerUsage, gpu),
            self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit, gpu),
        )
        bits = self._ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, gpu) or 0
        return GpuSample(
            index=index,
            name=_text(self._ask(nvml.nvmlDeviceGetName, gpu)),
            uuid=_text(self._ask(nvml.nvmlDeviceGetUUID, gpu)),
            utilization_percent=None if utilization is None else float(utilization.gpu),
            memory_used_bytes=used,
            memory_reserved_bytes=reserved,
            memory_total_bytes=total,
            temperature_celsius=self._ask(nvml.nvmlDeviceGetTemperature, gpu, nvml.NVML_TEMPERATURE_GPU),
            power_watts=None if power is None else power / MILLIWATTS,
            power_limit_watts=None if limit is None else limit / MILLIWATTS,
            clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, gpu, nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, gpu, nvml.NVML_CLOCK_MEM),
            throttle_reasons=sorted({reason for bit, reason in self._throttle_bits.items() if bits & bit}),
            processes=[
                GpuProcess(pid=process.pid, memory_bytes=process.usedGpuMemory)
                for process in self._ask(nvml.nvmlDeviceGetComputeRunningProcesses, gpu) or ()
            ],
        )

    def _memory(self, gpu: Any) -> tuple[int | None, int | None, int | None]:
        """Bytes used, reserved and in all. Only the second version of the call knows what the driver reserves."""
        nvml = self._nvml
        if self._has_memory_v2:
            found = self._ask(nvml.nvmlDeviceGetMemoryInfo, gpu, nvml.nvmlMemory_v2)
            if found is not None:
                return int(found.used), int(found.reserved), int(found.total)
            self._has_memory_v2 = False
        found = self._ask(nvml.nvmlDeviceGetMemoryInfo, gpu)
        return (None, None, None) if found is None else (int(found.used), None, int(found.total))

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What NVML answers; `None` for what this GPU or driver does not have."""
        try:
            return function(*arguments)
        except self._lost as error:
            raise _GpuLostError(str(error)) from error
        except self._nvml.NVMLError:
            return None


def find_nvml() -> NvmlReader | None:
    """A reader; `None` on a machine without NVIDIA's driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        logger.info("No NVIDIA GPU is sampled: %s", error)
        return None
    return NvmlReader(pynvml)


def _text(value: str | bytes | None) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

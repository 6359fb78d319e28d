"""Reads AMD GPUs through amdsmi, which comes with ROCm and is used where it is installed."""

import importlib
import logging
import math
from collections.abc import Callable
from typing import Any

from ftlab.schemas.telemetry import GpuProcess, GpuSample

MEBIBYTE = 1024**2

logger = logging.getLogger(__name__)


class AmdReader:
    """A `GpuReader` over an initialised `amdsmi`, which a test replaces."""

    def __init__(self, amdsmi: Any) -> None:
        self._smi = amdsmi

    def read(self) -> list[GpuSample]:
        handles = self._ask(self._smi.amdsmi_get_processor_handles)
        return [self._read_one(index, gpu) for index, gpu in enumerate(handles or ())]

    def _read_one(self, index: int, gpu: Any) -> GpuSample:
        smi = self._smi
        memory = self._ask(smi.amdsmi_get_gpu_vram_usage, gpu)
        power = self._ask(smi.amdsmi_get_power_info, gpu)
        if memory is None and power is None:
            return GpuSample(index=index, error=f"The driver gives no access to GPU {index}.")
        activity = self._ask(smi.amdsmi_get_gpu_activity, gpu)
        hotspot, current = smi.AmdSmiTemperatureType.HOTSPOT, smi.AmdSmiTemperatureMetric.CURRENT
        watts = _number(power, "current_socket_power")
        return GpuSample(
            index=index,
            name=_text(self._ask(smi.amdsmi_get_gpu_asic_info, gpu), "market_name"),
            uuid=self._ask(smi.amdsmi_get_gpu_device_uuid, gpu),
            utilization_percent=_number(activity, "gfx_activity"),
            memory_used_bytes=_bytes(memory, "vram_used"),
            memory_total_bytes=_bytes(memory, "vram_total"),
            temperature_celsius=_finite(self._ask(smi.amdsmi_get_temp_metric, gpu, hotspot, current)),
            power_watts=_number(power, "average_socket_power") if watts is None else watts,
            clock_mhz=_number(self._ask(smi.amdsmi_get_clock_info, gpu, smi.AmdSmiClkType.GFX), "clk"),
            memory_clock_mhz=_number(self._ask(smi.amdsmi_get_clock_info, gpu, smi.AmdSmiClkType.MEM), "clk"),
            processes=[
                GpuProcess(pid=each["pid"], memory_bytes=_finite(each.get("mem")))
                for each in self._ask(smi.amdsmi_get_gpu_process_list, gpu) or ()
            ],
        )

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What amdsmi answers; `None` for what this GPU or driver does not have."""
        try:
            return function(*arguments)
        except self._smi.AmdSmiException:
            return None


def find_amd() -> AmdReader | None:
    """A reader where amdsmi is installed and finds the driver."""
    try:
        amdsmi = importlib.import_module("amdsmi")
    except (ImportError, OSError, KeyError) as error:  # it loads ROCm's library while it is imported
        logger.debug("No AMD GPU is sampled: %s", error)
        return None
    try:
        amdsmi.amdsmi_init()
    except amdsmi.AmdSmiException as error:
        logger.info("No AMD GPU is sampled: %s", error)
        return None
    return AmdReader(amdsmi)


def _number(found: dict[str, Any] | None, name: str) -> float | None:
    return None if found is None else _finite(found.get(name))


def _bytes(found: dict[str, Any] | None, name: str) -> int | None:
    """Bytes of what amdsmi gives in MiB."""
    mebibytes = _number(found, name)
    return None if mebibytes is None else int(mebibytes * MEBIBYTE)


def _finite(value: Any) -> Any:
    """A number; `None` for what amdsmi gives instead of one it does not have, which is a text."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _text(found: dict[str, Any] | None, name: str) -> str | None:
    return None if found is None else str(found.get(name))

"""Stand-in for the module `pynvml`: its names, and GPUs that a test sets up."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

GIB = 1024**3


@dataclass
class FakeGpu:
    """One GPU; a counter that is in `unsupported` does not exist."""

    name: str = "NVIDIA H100 80GB HBM3"
    utilization: int = 87
    used: int = 30 * GIB
    reserved: int = GIB // 2
    total: int = 80 * GIB
    temperature: int = 64
    power_mw: int = 512_300
    limit_mw: int = 700_000
    sm_mhz: int = 1755
    memory_mhz: int = 2619
    throttle_bits: int = 0
    processes: list[tuple[int, int | None]] = field(default_factory=list)
    unsupported: tuple[str, ...] = ()
    is_lost: bool = False


class FakeNvml:
    """What `NvmlReader` calls of `pynvml`; everything else, such as constants and errors, is the real one."""

    def __init__(self, *gpus: FakeGpu) -> None:
        self.gpus = list(gpus)
        self.answers = True
        """Whether the driver answers at all."""

    def __getattr__(self, name: str) -> Any:
        return getattr(pynvml, name)

    def nvmlDeviceGetCount(self) -> int:
        if not self.answers:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        if not self.answers:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
        return self.gpus[index]

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str:
        return self._value(gpu, "name", gpu.name)

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:
        return self._value(gpu, "uuid", f"GPU-{self.gpus.index(gpu)}")

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:
        return self._value(gpu, "utilization", SimpleNamespace(gpu=gpu.utilization, memory=40))

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu, version: int | None = None) -> Any:
        self._value(gpu, "memory" if version is None else "memory_v2", None)
        parts = {"used": gpu.used, "total": gpu.total} | ({"reserved": gpu.reserved} if version else {})
        return SimpleNamespace(**parts)

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: int) -> int:
        return self._value(gpu, "temperature", gpu.temperature)

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:
        return self._value(gpu, "power", gpu.power_mw)

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: FakeGpu) -> int:
        return self._value(gpu, "power", gpu.limit_mw)

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, clock: int) -> int:
        return self._value(gpu, "clocks", gpu.sm_mhz if clock == pynvml.NVML_CLOCK_SM else gpu.memory_mhz)

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: FakeGpu) -> int:
        return self._value(gpu, "throttling", gpu.throttle_bits)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[Any]:
        found = [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in gpu.processes]
        return self._value(gpu, "processes", found)

    def _value(self, gpu: FakeGpu, counter: str, value: Any) -> Any:
        if gpu.is_lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        if counter in gpu.unsupported:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

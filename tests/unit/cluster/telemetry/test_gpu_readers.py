"""GPUs as the readers see them: throttled, lost, with counters that do not exist, and of two makers."""

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from cluster.telemetry import nvml_reader
from cluster.telemetry.amd_reader import AmdReader, find_amd
from cluster.telemetry.nvml_reader import NvmlReader, find_nvml
from ftlab.schemas.telemetry import GpuProcess
from tests.support.fake_nvml import GIB, FakeGpu, FakeNvml


def test_all_counters_of_a_gpu() -> None:
    (sample,) = NvmlReader(FakeNvml(FakeGpu(processes=[(11, 20 * GIB), (12, None)]))).read()
    assert (sample.index, sample.name, sample.uuid, sample.error) == (0, "NVIDIA H100 80GB HBM3", "GPU-0", None)
    assert (sample.utilization_percent, sample.temperature_celsius) == (87, 64)
    assert (sample.memory_used_bytes, sample.memory_reserved_bytes, sample.memory_total_bytes) == (
        30 * GIB,
        GIB // 2,
        80 * GIB,
    )
    assert (sample.power_watts, sample.power_limit_watts) == (512.3, 700)
    assert (sample.clock_mhz, sample.memory_clock_mhz, sample.throttle_reasons) == (1755, 2619, [])
    assert sample.processes == [GpuProcess(pid=11, memory_bytes=20 * GIB), GpuProcess(pid=12)]


def test_reasons_of_throttling() -> None:
    bits = pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonHwThermalSlowdown
    idle = pynvml.nvmlClocksEventReasonGpuIdle
    throttled, at_rest = NvmlReader(FakeNvml(FakeGpu(throttle_bits=bits), FakeGpu(throttle_bits=idle))).read()
    assert throttled.throttle_reasons == ["power", "temperature"]
    assert at_rest.throttle_reasons == []


def test_a_counter_that_does_not_exist_is_null() -> None:
    missing = ("power", "processes", "throttling", "utilization", "memory_v2")
    (sample,) = NvmlReader(FakeNvml(FakeGpu(unsupported=missing))).read()
    assert (sample.power_watts, sample.utilization_percent, sample.memory_reserved_bytes) == (None, None, None)
    assert (sample.processes, sample.throttle_reasons, sample.error) == ([], [], None)
    assert (sample.temperature_celsius, sample.memory_used_bytes) == (64, 30 * GIB)


def test_a_lost_gpu_has_an_error_and_the_others_go_on() -> None:
    nvml = FakeNvml(FakeGpu(is_lost=True), FakeGpu())
    lost, fine = NvmlReader(nvml).read()
    assert lost.error == "The driver has lost GPU 0: GPU is lost"
    assert (lost.memory_used_bytes, lost.utilization_percent) == (None, None)
    assert (fine.error, fine.utilization_percent) == (None, 87)
    nvml.gpus[0].is_lost = False  # after a reset
    assert NvmlReader(nvml).read()[0].utilization_percent == 87


def test_a_driver_that_does_not_answer() -> None:
    nvml = FakeNvml(FakeGpu())
    nvml.answers = False
    assert NvmlReader(nvml).read() == []


def test_a_missing_driver_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert find_nvml() is None
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    assert isinstance(nvml_reader.find_nvml(), NvmlReader)


def test_amdsmi_is_optional() -> None:
    with pytest.raises(ImportError):
        import amdsmi  # noqa: F401
    assert find_amd() is None


class FakeAmdSmi:
    """What `AmdReader` calls of `amdsmi`, with its units: MiB, W, °C, MHz, and texts instead of missing numbers."""

    class AmdSmiException(Exception): ...

    AmdSmiTemperatureType = SimpleNamespace(HOTSPOT="hotspot")
    AmdSmiTemperatureMetric = SimpleNamespace(CURRENT="current")
    AmdSmiClkType = SimpleNamespace(GFX="gfx", MEM="mem")

    def __init__(self) -> None:
        self.is_lost = False

    def amdsmi_get_processor_handles(self) -> list[str]:
        return ["gpu"]

    def amdsmi_get_gpu_vram_usage(self, gpu: str) -> dict[str, Any]:
        if self.is_lost:
            raise self.AmdSmiException("not found")
        return {"vram_used": 1024, "vram_total": 4096}

    def amdsmi_get_power_info(self, gpu: str) -> dict[str, Any]:
        if self.is_lost:
            raise self.AmdSmiException("not found")
        return {"current_socket_power": "N/A", "average_socket_power": 300}

    def amdsmi_get_gpu_activity(self, gpu: str) -> dict[str, Any]:
        return {"gfx_activity": 71, "umc_activity": "N/A"}

    def amdsmi_get_temp_metric(self, gpu: str, sensor: str, metric: str) -> int:
        assert (sensor, metric) == ("hotspot", "current")
        return 58

    def amdsmi_get_clock_info(self, gpu: str, clock: str) -> dict[str, Any]:
        return {"clk": {"gfx": 1900, "mem": "N/A"}[clock]}

    def amdsmi_get_gpu_asic_info(self, gpu: str) -> dict[str, Any]:
        return {"market_name": "Instinct MI300X"}

    def amdsmi_get_gpu_device_uuid(self, gpu: str) -> str:
        return "uuid"

    def amdsmi_get_gpu_process_list(self, gpu: str) -> list[dict[str, Any]]:
        return [{"pid": 11, "mem": 512}]


def test_an_amd_gpu() -> None:
    amdsmi = FakeAmdSmi()
    (sample,) = AmdReader(amdsmi).read()
    assert (sample.name, sample.utilization_percent, sample.temperature_celsius) == ("Instinct MI300X", 71, 58)
    assert (sample.memory_used_bytes, sample.memory_total_bytes) == (GIB, 4 * GIB)
    assert (sample.power_watts, sample.clock_mhz, sample.memory_clock_mhz) == (300, 1900, None)
    assert sample.processes == [GpuProcess(pid=11, memory_bytes=512)]
    amdsmi.is_lost = True
    (lost,) = AmdReader(amdsmi).read()
    assert (lost.error, lost.memory_used_bytes) == ("The driver gives no access to GPU 0.", None)

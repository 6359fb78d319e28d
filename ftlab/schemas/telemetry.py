"""Telemetry: the load of machines and GPUs, and what the processes of jobs use."""

from datetime import datetime

from pydantic import Field

from ftlab.schemas.common import WireModel

PROCESSES = "processes"
"""The device of the points of a job's training processes."""


class GpuProcess(WireModel):
    """A process with memory on a GPU."""

    pid: int
    memory_bytes: int | None = None


class GpuSample(WireModel):
    """One GPU at one moment. A counter that the GPU or its driver does not have is `None`."""

    index: int
    """Its number on the machine, the same as that of `nvidia-smi` and Ray."""
    name: str | None = None
    uuid: str | None = None
    utilization_percent: float | None = None
    """Share of the last moment in which a kernel ran."""
    memory_used_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    """Memory that the driver keeps for itself."""
    memory_total_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    clock_mhz: float | None = None
    """Clock of the compute units."""
    memory_clock_mhz: float | None = None
    throttle_reasons: list[str] = Field(default=[])
    """Why its clock is lower than it could be: `power`, `temperature`, `hardware` or `sync`."""
    processes: list[GpuProcess] = Field(default=[])
    error: str | None = None
    """Why it could not be read, for example because the driver has lost it."""

    @property
    def throttled(self) -> str:
        """`throttled: power, temperature`; empty while its clock is not held back."""
        return f"throttled: {', '.join(self.throttle_reasons)}" if self.throttle_reasons else ""


class HostSample(WireModel):
    """A machine at one moment. Rates are averages since the sample before."""

    cpu_percent: float | None = None
    """Busy share of all its cores, 0 to 100."""
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    disk_read_bytes_per_s: float | None = None
    disk_write_bytes_per_s: float | None = None
    network_received_bytes_per_s: float | None = None
    network_sent_bytes_per_s: float | None = None


class HeldDevices(WireModel):
    """What one running job holds on a machine."""

    job_id: str | None = None
    """`None` for a job of another owner."""
    job_name: str | None = None
    cpus: int = 0
    gpus: list[int] = Field(default=[])
    """Numbers of its GPUs; several jobs may share one."""


class GpuOut(WireModel):
    """A GPU that no job gets, because one job after another failed on it."""

    node: str
    """Name of the machine."""
    gpu: int
    """Its number on the machine."""
    since: datetime
    reason: str
    """Which jobs failed, and how the last of them did."""


class NodeStatus(WireModel):
    """One machine: what it gives to training, its newest sample, and which jobs are on it."""

    id: str
    """Ray's id of it, which changes when it joins again."""
    name: str
    cpus: int | None
    """Cores given to training, 0 for a machine that does not train; `None` while the scheduler does not answer."""
    gpus: int
    gpu_type: str | None = None
    sampled_at: datetime | None = None
    """When the sample was taken; `None` where there is none yet."""
    host: HostSample | None = None
    devices: list[GpuSample] = Field(default=[])
    jobs: list[HeldDevices] = Field(default=[])
    gpus_out: list[GpuOut] = Field(default=[])
    """GPUs that are taken out. They count in `gpus`."""


class NodeList(WireModel):
    data: list[NodeStatus]


class Spread(WireModel):
    """Values of one series: for each of its times the least, the mean and the greatest."""

    min: list[float | None]
    mean: list[float | None]
    max: list[float | None]


class DeviceSeries(WireModel):
    """What one device, or the processes of a job on one machine, did over time."""

    node: str
    """Name of the machine."""
    device: str
    """`gpu-0` and so on, or `processes`: the training processes of the job on this machine."""
    times: list[datetime]
    """When each point begins."""
    attempts: list[int]
    """The attempt of each point."""
    values: dict[str, Spread]
    """Series by name, each with one value per time."""


class NodeSeries(WireModel):
    """What a machine or one of its GPUs did over time."""

    device: str
    """`host`, or `gpu-0` and so on."""
    times: list[datetime]
    """When each point begins."""
    values: dict[str, Spread]
    """Series by name, each with one value per time."""


class NodeHistory(WireModel):
    """The series of one machine and its GPUs."""

    node: str
    """Name of the machine."""
    interval_s: float
    """Seconds between two points, where the machine was sampled without a gap."""
    data: list[NodeSeries]


class JobTelemetry(WireModel):
    """The series of a job's devices and processes."""

    job_id: str
    interval_s: float
    """Seconds between two points, where the run was sampled without a gap."""
    data: list[DeviceSeries]

"""The queue: the jobs that run, and those that wait."""

from datetime import datetime

from pydantic import Field

from ftlab.schemas.common import DEFAULT_PRIORITY, WireModel
from ftlab.schemas.telemetry import GpuOut
from ftlab.status import JobKind, JobStatus, Phase


class QueueEntry(WireModel):
    position: int
    job_id: str
    name: str
    kind: JobKind = JobKind.TRAINING
    owner: str | None = None
    priority: int = DEFAULT_PRIORITY
    waiting_for: str | None = None
    """What this job waits for, in one sentence."""
    created_at: datetime


class RunningEntry(WireModel):
    """A job that has devices, or is about to get them."""

    job_id: str
    name: str
    kind: JobKind = JobKind.TRAINING
    owner: str | None = None
    status: JobStatus
    """`pending`, `initializing`, `running`, `pausing` or `cancelling`."""
    priority: int = DEFAULT_PRIORITY
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    eta_s: float | None = None
    """Estimated seconds until the last step."""
    phase: Phase | None = None
    """Current phase of its run."""
    cpus: int | None = None
    """CPU cores that it holds; `None` once it has released them."""
    gpus: float | None = None
    """GPUs that it holds; a share of one as a fraction."""
    created_at: datetime
    started_at: datetime | None = None


class Queue(WireModel):
    """The queue as it is now."""

    running: list[RunningEntry]
    """All jobs that have devices, or are about to get them; the oldest first."""
    queued: list[QueueEntry]
    """One page, next job first."""
    num_queued: int = 0
    """Number of queued jobs on all pages."""
    has_more: bool = False
    next_cursor: str | None = None
    """Value of `after` for the next page."""
    waiting_for: str | None = None
    """What the head of the queue waits for, in one sentence."""
    gpus_out: list[GpuOut] = Field(default=[])
    """GPUs that no job gets, because one job after another failed on them."""

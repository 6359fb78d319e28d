"""Input and output of the policy: jobs, owners, and decisions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cluster.policy.fleet import Placement, WorkerShape
from ftlab.schemas import AnyJobConfig
from ftlab.schemas.common import DEFAULT_PRIORITY


@dataclass(frozen=True)
class QueuedJob:
    """A waiting job."""

    id: str
    owner: str
    config: AnyJobConfig
    priority: int = DEFAULT_PRIORITY
    is_in_front: bool = False
    """Moved to the front of its priority: fair shares come after it."""
    has_run: bool = False
    """It has run on these machines before, so it is not refused while some of them are unavailable."""
    longest_s: float | None = None
    """Seconds after which a run that is started now is guaranteed to have released its devices."""


@dataclass(frozen=True)
class RunningJob:
    """A job with a live attempt, which holds devices."""

    id: str
    attempt: int
    owner: str
    shape: WorkerShape
    started_at: datetime
    priority: int = DEFAULT_PRIORITY
    placement: Placement = ()
    """Empty where it is not known."""
    preemptible: bool = True
    remaining_s: float | None = None
    """Seconds after which it is guaranteed to have released its devices."""
    last_checkpoint_at: datetime | None = None
    is_stopping: bool = False
    """Whether it is about to release its devices."""
    is_idle: bool = False
    """Whether it does nothing, and makes room for a job of its own priority too: an engine without requests."""


@dataclass(frozen=True)
class Share:
    """Recent usage and limits of an owner."""

    device_s: float = 0.0
    """Device-seconds, decayed; without those of live attempts."""
    weight: float = 1.0
    """An owner of weight 2 gets twice as much as one of weight 1."""
    max_running_gpus: float | None = None
    max_running_cpus: int | None = None


@dataclass(frozen=True)
class Rules:
    """The numbers of the policy."""

    min_run_s: float = 120.0
    """How long a run is left alone before it can be preempted: one that is moved all the time makes no progress."""
    restart_s: float = 60.0
    """Cost in seconds of stopping, queueing and resuming a run, besides the work since its last checkpoint."""
    nominal_device_s: float = 600.0
    """Usage in seconds that a job about to start adds for its owner, so that owners take turns."""
    max_reservations: int = 8
    """How many waiting jobs get a reserved start; those behind them are protected without one."""


@dataclass(frozen=True)
class Start:
    job_id: str
    shape: WorkerShape
    placement: Placement


@dataclass(frozen=True)
class Wait:
    job_id: str
    why: str


@dataclass(frozen=True)
class Refuse:
    """The job can never run here."""

    job_id: str
    why: str


@dataclass(frozen=True)
class Preempt:
    """The job waits until these running jobs, which are to stop now, have released their devices."""

    job_id: str
    victims: tuple[str, ...]
    why: str


Decision = Start | Wait | Refuse | Preempt


@dataclass(frozen=True)
class Situation:
    """Everything that does not wait."""

    now: datetime
    running: tuple[RunningJob, ...] = ()
    shares: Mapping[str, Share] = field(default_factory=dict)
    rules: Rules = Rules()

    def share(self, owner: str) -> Share:
        return self.shares.get(owner) or Share()

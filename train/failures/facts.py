"""What is known about an attempt that failed, gathered from its record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ftlab.schemas import JobConfig
from ftlab.status import Phase
from train.estimate.job_memory import JobMemory
from train.plan import Failure


@dataclass(frozen=True)
class SavedCheckpoint:
    """A committed checkpoint of the job."""

    name: str
    step: int
    size_bytes: int
    eval_loss: float | None = None
    is_best: bool = False
    """Whether its eval loss is the lowest of those that can be compared with the newest one."""


@dataclass(frozen=True)
class FailureFacts:
    """What the analysis reads. Everything but the failure may be missing."""

    failure: Failure
    """What the run or its driver reported."""
    attempt: int
    """Number of the attempt; 0 where the job failed before its first one."""
    config: JobConfig | None = None
    phase: Phase | None = None
    """The newest phase that the run reported."""
    step: int = 0
    """The newest step that the run reported."""
    total_steps: int | None = None
    has_stepped: bool = False
    """Whether this attempt reported the metrics of a step."""
    metrics: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    """Newest points of the main series by name: step and value, the newest last."""
    alarms: frozenset[str] = frozenset()
    """Codes of the alarms that the run raised."""
    log_tail: tuple[str, ...] = ()
    """Newest lines that the run logged, without the traceback of its error."""
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    """Newest first."""
    memory: JobMemory | None = None
    run_time_s: float | None = None
    """Seconds of all attempts of the job."""
    spent: Decimal | None = None
    """What the job cost so far; only where it has a `max_cost`."""
    earlier: tuple[str, ...] = ()
    """Reason codes of the failed attempts before this one, oldest first."""

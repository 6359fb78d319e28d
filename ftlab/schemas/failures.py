"""Why an attempt of a job failed, what to change, and where to continue."""

from typing import Literal

from pydantic import Field

from ftlab.schemas.adjustments import Change
from ftlab.schemas.common import WireModel
from ftlab.status import Phase, ReasonCode

Confidence = Literal["certain", "likely", "possible"]


class Suggestion(WireModel):
    """Changes that belong together: half the rows in a pass with twice the passes in a step, for example."""

    changes: list[Change]
    reason: str
    """Why it helps, and what it costs, in one sentence."""
    effect: str
    """The expected effect, in one sentence; memory in GiB, computed by the estimate of this job."""
    bytes_saved: int | None = None
    """Memory that one training process needs less at its peak; `None` where that is not computed."""


class ResumeFrom(WireModel):
    """The checkpoint to continue from."""

    name: str
    """For example `step-00000120`."""
    step: int
    eval_loss: float | None = None
    reason: str
    """Why this one, in one sentence."""


class FailureAnalysis(WireModel):
    """Why an attempt failed. Made by rules from the error, the metrics, the log and the estimate of the job."""

    cause: str
    """What went wrong: finer than the reason code, for example `gpu_memory_evaluation`."""
    reason: ReasonCode
    """The reason code of the attempt."""
    phase: Phase | None = None
    """What the run was doing; `None` where that is not known."""
    attempt: int
    """The attempt that failed; 0 where the job failed before its first one."""
    confidence: Confidence
    sentence: str
    """What happened, in one sentence."""
    evidence: list[str] = Field(default_factory=list)
    """Lines of the traceback, the log and the measurements from which the cause was concluded."""
    suggestions: list[Suggestion] = Field(default_factory=list)
    """Changes of the config, the most promising one first; none where the config is not at fault."""
    resume_from: ResumeFrom | None = None
    """`None` where the job has no checkpoint."""

"""Why an attempt of a job failed, what to change, and where to continue."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field

from ftlab.schemas.common import WireModel
from ftlab.status import Phase, ReasonCode

Confidence = Literal["certain", "likely", "possible"]


class Change(WireModel):
    """A new value of one setting."""

    model_config = ConfigDict(extra="allow", frozen=True, validate_by_name=True, serialize_by_alias=True)

    field: str
    """Path of the setting in the job's config, for example `training.per_device_train_batch_size`."""
    from_: Any = Field(default=None, alias="from")
    """The value that the failed attempt had."""
    to: Any
    """The suggested value."""

    @property
    def text(self) -> str:
        """The change in a line: `training.learning_rate 0.0002 -> 0.0001`."""
        return f"{self.field} {_shown(self.from_)} -> {_shown(self.to)}"


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


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, Mapping):
        return str(value.get("type", "other settings"))
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)

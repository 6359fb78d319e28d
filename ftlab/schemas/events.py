"""A job's event log: the event, and one payload type per kind of event."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, get_args

from pydantic import Field, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema

from ftlab.schemas.adjustments import BY, AdjustedBy, Adjustment, Change
from ftlab.schemas.common import WireModel
from ftlab.schemas.failures import FailureAnalysis
from ftlab.status import JobStatus, Phase, ReasonCode

COST_LIMIT_REACHED = "cost_limit_reached"
"""What a job cost whose `max_cost` is used up."""
RESUMED = "resumed"
"""Code of the notice that reports what an attempt resumed from."""
MEMORY_PROBED = "memory_probe"
"""Code of the notice that reports a pass over the longest rows before the first step."""
CONFIG_ADJUSTED = "config_adjusted"
"""Code of the notice that reports a change of the job's config."""
DATA_CHECKED = "data_checked"
"""Code of the notice that reports what the doctor found in a job's data."""
DATA_WAIT_HIGH = "data_wait_high"
SPEED_DROPPED = "speed_dropped"
GRAD_NORM_HIGH = "grad_norm_high"
EVAL_LOSS_RISING = "eval_loss_rising"
LOSS_FLAT = "loss_flat"
REWARDS_EQUAL = "rewards_equal"
ALARMS = frozenset({DATA_WAIT_HIGH, SPEED_DROPPED, GRAD_NORM_HIGH, EVAL_LOSS_RISING, LOSS_FLAT, REWARDS_EQUAL})
"""Codes of the notices that a run emits when its own measurements look wrong."""
FAILURE_ANALYSED = "failure_analysed"
"""Code of the notice with the analysis of an attempt that failed."""
AUTO_RESOLVED = "auto_resolved"
"""Code of the notices that report what the settings became that were `auto` at the submission."""
CHAIN_RELEASED = "chain_released"
"""Code of the notice that reports which attempts and models of other jobs a job that waited for them starts from."""
MODEL_EXPECTED = "model_expected"
"""Code of the notice that reports that a job starts from a model which another job has yet to deliver."""
DEVICE_SETTINGS = "device_settings"
"""Code of the notice that reports what a run chose for its devices: precision, optimizer, attention, sharding."""
DATASETS_MIXED = "datasets_mixed"
"""Code of the notice that reports how many rows of each dataset an epoch of a mix takes."""
EVAL_SPLIT = "eval_split"
"""Code of the notice that reports how many rows of a job are trained and how many are set aside for evaluation."""
EVALUATION_CHANGED = "evaluation_changed"
"""Code of the notice that reports that evaluations from this attempt on cannot be compared with earlier ones."""
FINAL_EVAL_LOSS = "final_eval_loss"
"""Metric of the tuned model, measured after the training, at the step that was delivered."""


class EventKind(StrEnum):
    STATUS = "status"
    METRICS = "metrics"
    LOG = "log"
    CHECKPOINT = "checkpoint"
    SAMPLE = "sample"
    NOTICE = "notice"
    PROGRESS = "progress"


class RunPart(StrEnum):
    """Parts of an attempt's work whose time is measured on its first worker."""

    DATA = "data"
    """Waits of the steps for their rows."""
    GENERATION = "generation"
    """Generating and scoring answers (`grpo`)."""
    FORWARD = "forward"
    BACKWARD = "backward"
    """Also the exchange of gradients between workers."""
    OPTIMIZER = "optimizer"
    """Gradient clipping and the update of the weights."""
    EVALUATION = "evaluation"
    SAMPLING = "sampling"
    """Answering `training.sample_prompts`."""
    SAVING = "saving"


class EventPayload(WireModel):
    """Base of the payloads.

    `Event.data` holds the fields that the writer set; the others are absent there. Most have a default, so that the
    events of an older release can be read too.
    """

    kind: ClassVar[EventKind]

    def to_data(self) -> dict[str, Any]:
        """The payload as `Event.data`."""
        return self.model_dump(exclude_unset=True)


class StatusPayload(EventPayload):
    """The job has a new status."""

    kind = EventKind.STATUS

    status: JobStatus
    message: str = ""
    """One sentence: what the job is doing, or why it ended and what to do."""
    reason: ReasonCode | None = None
    """Set once the job is terminal."""


class ProgressPayload(EventPayload):
    """Position of the training. Emitted at most twice a second between two logged steps, and when the phase changes."""

    kind = EventKind.PROGRESS

    step: int
    """Optimizer steps done, over all attempts."""
    total_steps: int | None = None
    epoch: float | None = None
    """Epochs done of the current file."""
    file: int | None = None
    """Number of the file in training; 1 is the first."""
    num_files: int | None = None
    file_progress: float | None = None
    """Share of the file that is done, 0 to 1."""
    eta_s: float | None = None
    """Estimated seconds until the last step; `None` until a step is measured."""
    step_time_s: float | None = None
    """Seconds per step, as a moving average."""
    data_wait_s: float | None = None
    """Seconds that a step waits for its data, as a moving average."""
    phase: Phase | None = None
    """The new phase of the run; set only in the event that reports a change of phase."""


class MetricsPayload(ProgressPayload):
    """Measured values of one step, with the position of the training."""

    kind = EventKind.METRICS

    values: dict[str, float | None] = Field(default_factory=dict)
    """Value by metric name; `None` where the number is not finite."""
    times_s: dict[str, float] = Field(default_factory=dict)
    """Seconds of the attempt so far, by `RunPart`."""


class LogPayload(EventPayload):
    """One line that the training processes logged."""

    kind = EventKind.LOG

    level: str = "info"
    """Lower-case name of the log level, for example `info` or `warning`."""
    text: str = ""


class CheckpointPayload(EventPayload):
    """A checkpoint was committed."""

    kind = EventKind.CHECKPOINT

    step: int
    name: str = ""
    """Name of its folder, for example `step-00000120`."""
    size_bytes: int = 0
    """Size of all its files."""
    manifest_sha256: str = ""
    """SHA-256 of its manifest file, in hex."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Losses that were measured at its step."""
    is_best: bool = False
    """Whether it has the lowest evaluation loss so far."""
    removed_steps: list[int] = Field(default_factory=list)
    """Steps of the older checkpoints that were removed with this commit."""
    times_s: dict[str, float] = Field(default_factory=dict)
    """Seconds of the attempt so far, by `RunPart`; with most of the time that this commit took."""


class NoticePayload(EventPayload):
    """Something that a user should know; `code` names the subject."""

    kind = EventKind.NOTICE

    code: str
    message: str = ""
    """One sentence for the user."""
    step: int | None = None
    """Step of the checkpoint that an attempt resumes from; set in notices about a resume."""
    samples: int | None = None
    """Training rows consumed up to this step."""
    removed_steps: list[int] | None = None
    """Steps of the newer checkpoints that were removed (`checkpoints_given_up`)."""


class ResumedPayload(NoticePayload):
    """Receipt of a resume (code `resumed`), emitted after its first step.

    Each pair of fields compares the checkpoint with what the attempt found when it resumed.
    """

    file: int | None = None
    """Number of the file with the next row; 1 is the first."""
    num_files: int | None = None
    file_samples: int | None = None
    """Rows consumed of this file, over all its epochs."""
    loss_before: float | None = None
    loss_after: float | None = None
    learning_rate_before: float | None = None
    learning_rate_after: float | None = None
    rng_sha256_before: str | None = None
    """Hash of the random states of all workers."""
    rng_sha256_after: str | None = None
    data_sha256_before: str | None = None
    """Hash of the file's rows, the position in them and the order of the next ones."""
    data_sha256_after: str | None = None
    versions_before: dict[str, str] | None = None
    """Versions of the libraries that compute a step."""
    versions_after: dict[str, str] | None = None
    bit_exact: bool | None = None
    """Whether training continues bit for bit as without the interruption."""
    why_not: list[str] | None = None
    """Reasons why it does not."""


class AdjustedPayload(NoticePayload):
    """The config of the job was changed (code `config_adjusted`)."""

    by: AdjustedBy | None = None
    changes: list[Change] | None = None
    """Settings with the value before and after."""

    @classmethod
    def of_adjustment(cls, adjustment: Adjustment) -> "AdjustedPayload":
        """The event of an adjustment."""
        why = f" {adjustment.reason}" if adjustment.reason else ""
        message = f"{BY[adjustment.by]}: {adjustment.sentence}.{why}"
        return cls(code=CONFIG_ADJUSTED, message=message, by=adjustment.by, changes=adjustment.changes)


class MemoryProbePayload(NoticePayload):
    """What a pass over the longest rows took (code `memory_probe`), on the worker that took the most.

    It leaves the weights as they are.
    """

    num_rows: int | None = None
    """Rows of one pass."""
    longest: int | None = None
    """Tokens of the longest row."""
    peak_bytes: int | None = None
    """Memory that training needs for these rows: of the GPU, else of the process."""
    memory_bytes: int | None = None
    """Memory that the process may use."""
    time_s: float | None = None
    """Seconds that the pass took."""


class FailurePayload(NoticePayload):
    """Why an attempt failed (code `failure_analysed`)."""

    analysis: FailureAnalysis | None = None


class SamplePayload(EventPayload):
    """Answer of the model in training to one of `training.sample_prompts`."""

    kind = EventKind.SAMPLE

    step: int = 0
    """Optimizer steps done when it was generated; 0 is the model before training."""
    number: int = 1
    """Number of the prompt; 1 is the first."""
    prompt: str = ""
    """The prompt or its last message; only the beginning of a long one."""
    text: str = ""
    """The answer, without special tokens."""
    num_tokens: int = 0
    """Generated tokens."""
    is_cut: bool = False
    """Whether the answer reached `training.sample_max_new_tokens` before its end."""


_Payload = (
    StatusPayload
    | MetricsPayload
    | LogPayload
    | CheckpointPayload
    | SamplePayload
    | NoticePayload
    | ResumedPayload
    | MemoryProbePayload
    | FailurePayload
    | AdjustedPayload
    | ProgressPayload
)
_BY_CODE: dict[str, type[NoticePayload]] = {
    RESUMED: ResumedPayload,
    MEMORY_PROBED: MemoryProbePayload,
    FAILURE_ANALYSED: FailurePayload,
    CONFIG_ADJUSTED: AdjustedPayload,
}
"""Notices with fields of their own."""
_BY_KIND = {payload.kind: payload for payload in get_args(_Payload) if payload not in _BY_CODE.values()}


def parse_payload(kind: EventKind, data: Mapping[str, Any]) -> EventPayload:
    """The payload of an event with this `data`."""
    payload: type[EventPayload] = _BY_KIND[kind]
    if kind is EventKind.NOTICE:
        payload = _BY_CODE.get(str(data.get("code")), NoticePayload)
    return payload.model_validate(data)


class _PayloadSchema:
    """JSON schema of `Event.data`: one of the payload types."""

    @staticmethod
    def __get_pydantic_json_schema__(_: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(TypeAdapter(_Payload).core_schema)


class Event(WireModel):
    """One line of a job's append-only event log. `seq` starts at 1 and has no gap."""

    job_id: str
    seq: int
    attempt: int
    """The attempt that it belongs to; 0 before the first."""
    at: datetime
    kind: EventKind
    data: Annotated[dict[str, Any], _PayloadSchema()]
    """The payload as plain JSON values."""

    @property
    def payload(self) -> EventPayload:
        """`data` as the payload type of this kind."""
        return parse_payload(self.kind, self.data)


class LogLine(WireModel):
    """One line that a job's training processes logged."""

    at: datetime
    level: str
    text: str
    attempt: int = 0

"""A job's log as text: what a training script would print, made from the job's events."""

from datetime import datetime

from ftlab.schemas.events import (
    FINAL_EVAL_LOSS,
    CheckpointPayload,
    EventKind,
    EventPayload,
    LogLine,
    LogPayload,
    MetricsPayload,
    NoticePayload,
    ProgressPayload,
    SamplePayload,
    StatusPayload,
)
from ftlab.status import JobStatus

LOGGED_KINDS = (
    EventKind.STATUS,
    EventKind.METRICS,
    EventKind.LOG,
    EventKind.CHECKPOINT,
    EventKind.NOTICE,
    EventKind.SAMPLE,
)
"""Kinds of events that have a line in the log."""
EVAL_PREFIX = "eval_"
_STEP_VALUES = ("loss", "learning_rate", "grad_norm", "tokens_per_s")


def log_lines(payload: EventPayload, *, at: datetime, attempt: int) -> list[LogLine]:
    """The lines of one event in the job's log; none for an event that is not logged."""
    return [LogLine(at=at, level=_level(payload), text=text, attempt=attempt) for text in _texts(payload)]


def event_text(payload: EventPayload) -> str:
    """An event in one line; empty for an event without text."""
    if isinstance(payload, ProgressPayload) and not isinstance(payload, MetricsPayload):
        return _step(payload) + (f", {payload.phase.label}" if payload.phase else "")
    return " ".join(_texts(payload))


def _level(payload: EventPayload) -> str:
    if isinstance(payload, LogPayload):
        return payload.level
    return "error" if isinstance(payload, StatusPayload) and payload.status is JobStatus.FAILED else "info"


def _texts(payload: EventPayload) -> list[str]:
    match payload:
        case StatusPayload():
            return [payload.message or payload.status.sentence]
        case MetricsPayload():
            return _metrics(payload)
        case CheckpointPayload():
            best = ", the best so far" if payload.is_best else ""
            return [f"Saved checkpoint {payload.name} ({payload.size_bytes / 1e6:.1f} MB{best})."]
        case SamplePayload():
            return [f"Answer to prompt {payload.number} at step {payload.step}: {' '.join(payload.text.split())}"]
        case NoticePayload() | LogPayload():
            text = payload.message if isinstance(payload, NoticePayload) else payload.text
            return [text] if text else []
    return []


def _metrics(payload: MetricsPayload) -> list[str]:
    """One line for the values of the training step, one for those of an evaluation."""
    values = payload.values
    trained = [f"{name} {values[name]:.4g}" for name in _STEP_VALUES if values.get(name) is not None]
    evaluated = [
        f"{name} {value:.4g}"
        for name, value in values.items()
        if (name.startswith(EVAL_PREFIX) or name == FINAL_EVAL_LOSS) and value is not None
    ]
    return [
        f"{label}: {', '.join(shown)}"
        for label, shown in ((_step(payload), trained), (f"Evaluation at step {payload.step}", evaluated))
        if shown
    ]


def _step(payload: ProgressPayload) -> str:
    total = f"/{payload.total_steps}" if payload.total_steps else ""
    file = f", file {payload.file} of {payload.num_files}" if payload.file and (payload.num_files or 1) > 1 else ""
    return f"Step {payload.step}{total}{file}"

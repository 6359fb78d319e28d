"""A job's log, made from its events."""

from datetime import UTC, datetime

import pytest

from ftlab.schemas import (
    CheckpointPayload,
    EventPayload,
    LogPayload,
    MetricsPayload,
    NoticePayload,
    SamplePayload,
    StatusPayload,
)
from ftlab.schemas.events import ProgressPayload
from ftlab.schemas.log_lines import event_text, log_lines
from ftlab.status import JobStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT_STEP_3 = {"step": 3, "total_steps": 8}


@pytest.mark.parametrize(
    ("payload", "lines"),
    [
        (StatusPayload(status=JobStatus.RUNNING), [("info", "The job is training.")]),
        (StatusPayload(status=JobStatus.FAILED, message="Out of memory."), [("error", "Out of memory.")]),
        (LogPayload(level="warning", text="careful"), [("warning", "careful")]),
        (NoticePayload(code="x", message="Rows were cut."), [("info", "Rows were cut.")]),
        (SamplePayload(step=3, number=2, text="A\nline."), [("info", "Answer to prompt 2 at step 3: A line.")]),
        (
            CheckpointPayload(step=3, name="step-00000003", size_bytes=2_000_000),
            [("info", "Saved checkpoint step-00000003 (2.0 MB).")],
        ),
        (
            MetricsPayload(**AT_STEP_3, values={"loss": 2.71828, "learning_rate": 2e-4, "entropy": 1.0}),
            [("info", "Step 3/8: loss 2.718, learning_rate 0.0002")],
        ),
        (
            MetricsPayload(**AT_STEP_3, file=2, num_files=3, values={"loss": 2.0, "eval_loss": 3.5, "eval_x": None}),
            [("info", "Step 3/8, file 2 of 3: loss 2"), ("info", "Evaluation at step 3: eval_loss 3.5")],
        ),
        (MetricsPayload(**AT_STEP_3, values={"loss": None}), []),
        (ProgressPayload(**AT_STEP_3), []),
    ],
)
def test_every_logged_event_has_its_lines(payload: EventPayload, lines: list[tuple[str, str]]):
    found = log_lines(payload, at=NOW, attempt=2)
    assert [(line.level, line.text) for line in found] == lines
    assert {(line.at, line.attempt) for line in found} <= {(NOW, 2)}


def test_progress_is_an_event_but_not_in_the_log():
    assert event_text(ProgressPayload(**AT_STEP_3)) == "Step 3/8"

"""Wire types, shared by the service and its clients."""

from ftlab.schemas.common import Page, StrictModel, WireModel
from ftlab.schemas.config import JobConfig, LoraConfig, Resources, TrainingConfig
from ftlab.schemas.datasets import Dataset, DatasetPreview, PreviewRow, SignedUrl, Upload
from ftlab.schemas.events import (
    CheckpointPayload,
    Event,
    EventKind,
    EventPayload,
    LogLine,
    LogPayload,
    MetricsPayload,
    NoticePayload,
    ProgressPayload,
    ResumedPayload,
    SamplePayload,
    StatusPayload,
)
from ftlab.schemas.methods import Method, SftMethod
from ftlab.schemas.records import (
    Attempt,
    Checkpoint,
    Job,
    MetricPoint,
    ModelCheck,
    Queue,
    QueueEntry,
    Quota,
    TunedModel,
)

__all__ = [
    "Attempt",
    "Checkpoint",
    "CheckpointPayload",
    "Dataset",
    "DatasetPreview",
    "Event",
    "EventKind",
    "EventPayload",
    "Job",
    "JobConfig",
    "LogLine",
    "LogPayload",
    "LoraConfig",
    "Method",
    "MetricPoint",
    "MetricsPayload",
    "ModelCheck",
    "NoticePayload",
    "Page",
    "PreviewRow",
    "ProgressPayload",
    "Queue",
    "QueueEntry",
    "Quota",
    "Resources",
    "ResumedPayload",
    "SamplePayload",
    "SftMethod",
    "SignedUrl",
    "StatusPayload",
    "StrictModel",
    "TrainingConfig",
    "TunedModel",
    "Upload",
    "WireModel",
]

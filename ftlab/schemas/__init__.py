"""Wire types, shared by the service and its clients."""

from ftlab.schemas.common import Page, StrictModel, WireModel
from ftlab.schemas.config import JobConfig, LoraConfig, Method, Resources, SftMethod, TrainingConfig
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
from ftlab.schemas.model_check import ModelCheck
from ftlab.schemas.preview import DatasetPreview, PreviewRow
from ftlab.schemas.records import (
    Attempt,
    Checkpoint,
    Dataset,
    Job,
    MetricPoint,
    Queue,
    QueueEntry,
    Quota,
    TunedModel,
)
from ftlab.schemas.uploads import SignedUrl, Upload

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

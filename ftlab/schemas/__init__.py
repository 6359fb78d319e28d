"""Wire types, shared by the service and its clients."""

from ftlab.schemas.common import Page, StrictModel, WireModel
from ftlab.schemas.config import JobConfig, LoraConfig, Resources, TrainingConfig
from ftlab.schemas.methods import Method, SftMethod
from ftlab.schemas.model_check import ModelCheck
from ftlab.schemas.preview import DatasetPreview, PreviewRow
from ftlab.schemas.records import (
    Attempt,
    Checkpoint,
    Dataset,
    Event,
    EventKind,
    Job,
    LogLine,
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
    "Dataset",
    "DatasetPreview",
    "Event",
    "EventKind",
    "Job",
    "JobConfig",
    "LogLine",
    "LoraConfig",
    "Method",
    "MetricPoint",
    "ModelCheck",
    "Page",
    "PreviewRow",
    "Queue",
    "QueueEntry",
    "Quota",
    "Resources",
    "SftMethod",
    "SignedUrl",
    "StrictModel",
    "TrainingConfig",
    "TunedModel",
    "Upload",
    "WireModel",
]

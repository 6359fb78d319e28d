"""Wire types, shared by the service and its clients."""

from ftlab.schemas.common import Page, StrictModel, WireModel
from ftlab.schemas.config import JobConfig, LoraConfig, Method, Resources, SftMethod, TrainingConfig
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

__all__ = [
    "Attempt",
    "Checkpoint",
    "Dataset",
    "Event",
    "EventKind",
    "Job",
    "JobConfig",
    "LogLine",
    "LoraConfig",
    "Method",
    "MetricPoint",
    "Page",
    "Queue",
    "QueueEntry",
    "Quota",
    "Resources",
    "SftMethod",
    "StrictModel",
    "TrainingConfig",
    "TunedModel",
    "WireModel",
]

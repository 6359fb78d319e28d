"""Wire types, shared by the service and its clients."""

from ftlab.schemas.analytics import EarlierRun, JobAnalytics, TimeUse
from ftlab.schemas.auto import AUTO, AutoValue
from ftlab.schemas.common import Page, StrictModel, WireModel
from ftlab.schemas.config import JobConfig, Resources
from ftlab.schemas.datasets import Dataset, DatasetField, DatasetPreview, PreviewRow, SignedUrl, Upload
from ftlab.schemas.estimates import Alternative, DeviceEstimate, JobEstimate, MemoryParts, RowEstimate
from ftlab.schemas.events import (
    CheckpointPayload,
    Event,
    EventKind,
    EventPayload,
    FailurePayload,
    LogLine,
    LogPayload,
    MetricsPayload,
    NoticePayload,
    ProgressPayload,
    ResumedPayload,
    SamplePayload,
    StatusPayload,
    TrialPayload,
)
from ftlab.schemas.failures import FailureAnalysis, ResumeFrom, Suggestion
from ftlab.schemas.lora import LoraConfig
from ftlab.schemas.methods import DpoMethod, GrpoMethod, KtoMethod, Method, RewardMethod, SftMethod
from ftlab.schemas.notifications import Channel, ChannelType, Notification, NotificationKind
from ftlab.schemas.records import (
    Attempt,
    Checkpoint,
    Job,
    MetricPoint,
    ModelCheck,
    Queue,
    QueueEntry,
    Quota,
    RunningEntry,
    ServiceInfo,
    TunedModel,
)
from ftlab.schemas.templates import Template, TemplateSummary
from ftlab.schemas.training import TrainingConfig

__all__ = [
    "AUTO",
    "Alternative",
    "Attempt",
    "AutoValue",
    "Channel",
    "ChannelType",
    "Checkpoint",
    "CheckpointPayload",
    "Dataset",
    "DatasetField",
    "DatasetPreview",
    "DeviceEstimate",
    "DpoMethod",
    "EarlierRun",
    "Event",
    "EventKind",
    "EventPayload",
    "FailureAnalysis",
    "FailurePayload",
    "GrpoMethod",
    "Job",
    "JobAnalytics",
    "JobConfig",
    "JobEstimate",
    "KtoMethod",
    "LogLine",
    "LogPayload",
    "LoraConfig",
    "MemoryParts",
    "Method",
    "MetricPoint",
    "MetricsPayload",
    "ModelCheck",
    "NoticePayload",
    "Notification",
    "NotificationKind",
    "Page",
    "PreviewRow",
    "ProgressPayload",
    "Queue",
    "QueueEntry",
    "Quota",
    "Resources",
    "ResumeFrom",
    "ResumedPayload",
    "RewardMethod",
    "RowEstimate",
    "RunningEntry",
    "SamplePayload",
    "ServiceInfo",
    "SftMethod",
    "SignedUrl",
    "StatusPayload",
    "StrictModel",
    "Suggestion",
    "Template",
    "TemplateSummary",
    "TimeUse",
    "TrainingConfig",
    "TrialPayload",
    "TunedModel",
    "Upload",
    "WireModel",
]

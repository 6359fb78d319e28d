"""Wire types, shared by the service and its clients."""

from ftlab.schemas.analytics import EarlierRun, JobAnalytics, TimeUse
from ftlab.schemas.auto import AUTO, AutoValue
from ftlab.schemas.base_config import BaseJobConfig, Resources
from ftlab.schemas.common import Page, StrictModel, WireModel
from ftlab.schemas.config import JobConfig
from ftlab.schemas.costs import CostRecord, CostReport, JobCost
from ftlab.schemas.datasets import Dataset, DatasetField, DatasetPreview, PreviewRow, SignedUrl, Upload
from ftlab.schemas.engine import EngineConfig
from ftlab.schemas.estimates import Alternative, DeviceEstimate, JobEstimate, MemoryParts, RowEstimate
from ftlab.schemas.evaluation import EvaluationConfig
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
from ftlab.schemas.export import ExportConfig
from ftlab.schemas.failures import FailureAnalysis, ResumeFrom, Suggestion
from ftlab.schemas.job_kinds import AnyJobConfig
from ftlab.schemas.lora import LoraConfig
from ftlab.schemas.methods import DpoMethod, GrpoMethod, KtoMethod, Method, RewardMethod, SftMethod
from ftlab.schemas.notifications import (
    Channel,
    ChannelType,
    Notification,
    NotificationKind,
    new_webhook_secret,
)
from ftlab.schemas.records import (
    Attempt,
    ChainedJob,
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
from ftlab.schemas.telemetry import DeviceSeries, GpuSample, HostSample, JobTelemetry, NodeStatus
from ftlab.schemas.templates import Template, TemplateSummary
from ftlab.schemas.training import TrainingConfig

__all__ = [
    "AUTO",
    "Alternative",
    "AnyJobConfig",
    "Attempt",
    "AutoValue",
    "BaseJobConfig",
    "ChainedJob",
    "Channel",
    "ChannelType",
    "Checkpoint",
    "CheckpointPayload",
    "CostRecord",
    "CostReport",
    "Dataset",
    "DatasetField",
    "DatasetPreview",
    "DeviceEstimate",
    "DeviceSeries",
    "DpoMethod",
    "EarlierRun",
    "EngineConfig",
    "EvaluationConfig",
    "Event",
    "EventKind",
    "EventPayload",
    "ExportConfig",
    "FailureAnalysis",
    "FailurePayload",
    "GpuSample",
    "GrpoMethod",
    "HostSample",
    "Job",
    "JobAnalytics",
    "JobConfig",
    "JobCost",
    "JobEstimate",
    "JobTelemetry",
    "KtoMethod",
    "LogLine",
    "LogPayload",
    "LoraConfig",
    "MemoryParts",
    "Method",
    "MetricPoint",
    "MetricsPayload",
    "ModelCheck",
    "NodeStatus",
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
    "new_webhook_secret",
]

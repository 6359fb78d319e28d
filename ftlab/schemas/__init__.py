"""Wire types, shared by the service and its clients.

A module is imported when one of its names is first used: most commands need few of these types, and building them all
takes longer than an answer of the service.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftlab.schemas.analytics import EarlierRun, JobAnalytics, TimeUse
    from ftlab.schemas.auto import AUTO, AutoValue
    from ftlab.schemas.base_config import BaseJobConfig, Resources
    from ftlab.schemas.common import Page, StrictModel, WireModel
    from ftlab.schemas.config import JobConfig
    from ftlab.schemas.costs import CostRecord, CostReport
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
        MemoryProbePayload,
        MetricsPayload,
        NoticePayload,
        ProgressPayload,
        ResumedPayload,
        SamplePayload,
        StatusPayload,
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
    from ftlab.schemas.queue import Queue, QueueEntry, RunningEntry
    from ftlab.schemas.records import (
        Attempt,
        ChainedJob,
        Checkpoint,
        Job,
        JobCost,
        MetricPoint,
        ModelCheck,
        Quota,
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
    "MemoryProbePayload",
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
    "TunedModel",
    "Upload",
    "WireModel",
    "new_webhook_secret",
]

_NAMES = {
    "analytics": ("EarlierRun", "JobAnalytics", "TimeUse"),
    "auto": ("AUTO", "AutoValue"),
    "base_config": ("BaseJobConfig", "Resources"),
    "common": ("Page", "StrictModel", "WireModel"),
    "config": ("JobConfig",),
    "costs": ("CostRecord", "CostReport"),
    "datasets": ("Dataset", "DatasetField", "DatasetPreview", "PreviewRow", "SignedUrl", "Upload"),
    "engine": ("EngineConfig",),
    "estimates": ("Alternative", "DeviceEstimate", "JobEstimate", "MemoryParts", "RowEstimate"),
    "evaluation": ("EvaluationConfig",),
    "events": (
        "CheckpointPayload",
        "Event",
        "EventKind",
        "EventPayload",
        "FailurePayload",
        "LogLine",
        "LogPayload",
        "MetricsPayload",
        "NoticePayload",
        "ProgressPayload",
        "ResumedPayload",
        "SamplePayload",
        "StatusPayload",
        "MemoryProbePayload",
    ),
    "export": ("ExportConfig",),
    "failures": ("FailureAnalysis", "ResumeFrom", "Suggestion"),
    "job_kinds": ("AnyJobConfig",),
    "lora": ("LoraConfig",),
    "methods": ("DpoMethod", "GrpoMethod", "KtoMethod", "Method", "RewardMethod", "SftMethod"),
    "notifications": ("Channel", "ChannelType", "Notification", "NotificationKind", "new_webhook_secret"),
    "queue": ("Queue", "QueueEntry", "RunningEntry"),
    "records": (
        "Attempt",
        "ChainedJob",
        "Checkpoint",
        "Job",
        "JobCost",
        "MetricPoint",
        "ModelCheck",
        "Quota",
        "ServiceInfo",
        "TunedModel",
    ),
    "telemetry": ("DeviceSeries", "GpuSample", "HostSample", "JobTelemetry", "NodeStatus"),
    "templates": ("Template", "TemplateSummary"),
    "training": ("TrainingConfig",),
}
"""The names that each module defines."""
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ftlab.schemas' has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"ftlab.schemas.{_HOMES[name]}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__

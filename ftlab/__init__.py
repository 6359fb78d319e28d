"""FineTune Lab: the SDK, and the types that the service and its clients share.

    from ftlab import Client

    with Client() as client:
        job = client.jobs.create({"model": "org/name", "dataset": "ds-..."})
        client.jobs.wait(job.id)

Names are imported when they are first used, so that `import ftlab` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftlab.client import AsyncClient, Client, RetryPolicy
    from ftlab.errors import (
        AuthenticationError,
        ConflictError,
        FineTuneLabError,
        InternalServerError,
        InvalidRequestError,
        JobCancelledError,
        JobEndedError,
        JobFailedError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitError,
        ServiceUnavailableError,
        UnreachableError,
        WaitTimeoutError,
    )
    from ftlab.schemas import (
        AUTO,
        Attempt,
        AutoValue,
        Channel,
        Checkpoint,
        CostRecord,
        CostReport,
        Dataset,
        DpoMethod,
        EvaluationConfig,
        Event,
        EventKind,
        ExportConfig,
        FailureAnalysis,
        GrpoMethod,
        Job,
        JobAnalytics,
        JobConfig,
        JobCost,
        JobEstimate,
        KtoMethod,
        LogLine,
        LoraConfig,
        MetricPoint,
        ModelCheck,
        Notification,
        NotificationKind,
        Queue,
        QueueEntry,
        Quota,
        Resources,
        RewardMethod,
        RunningEntry,
        SftMethod,
        SignedUrl,
        Suggestion,
        Template,
        TemplateSummary,
        TrainingConfig,
        TunedModel,
        new_webhook_secret,
    )
    from ftlab.schemas.checks import CheckReport, Finding, TokenRow
    from ftlab.settings import Settings, load_settings
    from ftlab.status import JobStatus, ReasonCode

__all__ = [
    "AUTO",
    "AsyncClient",
    "Attempt",
    "AuthenticationError",
    "AutoValue",
    "Channel",
    "CheckReport",
    "Checkpoint",
    "Client",
    "ConflictError",
    "CostRecord",
    "CostReport",
    "Dataset",
    "DpoMethod",
    "EvaluationConfig",
    "Event",
    "EventKind",
    "ExportConfig",
    "FailureAnalysis",
    "Finding",
    "FineTuneLabError",
    "GrpoMethod",
    "InternalServerError",
    "InvalidRequestError",
    "Job",
    "JobAnalytics",
    "JobCancelledError",
    "JobConfig",
    "JobCost",
    "JobEndedError",
    "JobEstimate",
    "JobFailedError",
    "JobStatus",
    "KtoMethod",
    "LogLine",
    "LoraConfig",
    "MetricPoint",
    "ModelCheck",
    "NotFoundError",
    "Notification",
    "NotificationKind",
    "PermissionDeniedError",
    "Queue",
    "QueueEntry",
    "Quota",
    "RateLimitError",
    "ReasonCode",
    "Resources",
    "RetryPolicy",
    "RewardMethod",
    "RunningEntry",
    "ServiceUnavailableError",
    "Settings",
    "SftMethod",
    "SignedUrl",
    "Suggestion",
    "Template",
    "TemplateSummary",
    "TokenRow",
    "TrainingConfig",
    "TunedModel",
    "UnreachableError",
    "WaitTimeoutError",
    "load_settings",
    "new_webhook_secret",
]

_HOMES = ("ftlab.errors", "ftlab.status", "ftlab.settings", "ftlab.schemas", "ftlab.schemas.checks", "ftlab.client")
"""The modules that define these names, in the order in which they are searched: light ones first."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in map(import_module, _HOMES):
            if hasattr(home, name):
                globals()[name] = getattr(home, name)
                return globals()[name]
    raise AttributeError(f"module 'ftlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

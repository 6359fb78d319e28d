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
        Attempt,
        Checkpoint,
        Dataset,
        Event,
        EventKind,
        Job,
        JobConfig,
        LogLine,
        LoraConfig,
        MetricPoint,
        ModelCheck,
        Queue,
        QueueEntry,
        Quota,
        Resources,
        SftMethod,
        SignedUrl,
        TrainingConfig,
        TunedModel,
    )
    from ftlab.schemas.checks import CheckReport, Finding, TokenRow
    from ftlab.settings import Settings, load_settings
    from ftlab.status import JobStatus, ReasonCode

_HOMES = {
    "ftlab.client": ("AsyncClient", "Client", "RetryPolicy"),
    "ftlab.errors": (
        "AuthenticationError",
        "ConflictError",
        "FineTuneLabError",
        "InternalServerError",
        "InvalidRequestError",
        "JobCancelledError",
        "JobEndedError",
        "JobFailedError",
        "NotFoundError",
        "PermissionDeniedError",
        "RateLimitError",
        "ServiceUnavailableError",
        "UnreachableError",
        "WaitTimeoutError",
    ),
    "ftlab.status": ("JobStatus", "ReasonCode"),
    "ftlab.schemas": (
        "Attempt",
        "Checkpoint",
        "Dataset",
        "Event",
        "EventKind",
        "Job",
        "JobConfig",
        "LogLine",
        "LoraConfig",
        "MetricPoint",
        "ModelCheck",
        "Queue",
        "QueueEntry",
        "Quota",
        "Resources",
        "SftMethod",
        "SignedUrl",
        "TrainingConfig",
        "TunedModel",
    ),
    "ftlab.schemas.checks": ("CheckReport", "Finding", "TokenRow"),
    "ftlab.settings": ("Settings", "load_settings"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncClient",
    "Attempt",
    "AuthenticationError",
    "CheckReport",
    "Checkpoint",
    "Client",
    "ConflictError",
    "Dataset",
    "Event",
    "EventKind",
    "Finding",
    "FineTuneLabError",
    "InternalServerError",
    "InvalidRequestError",
    "Job",
    "JobCancelledError",
    "JobConfig",
    "JobEndedError",
    "JobFailedError",
    "JobStatus",
    "LogLine",
    "LoraConfig",
    "MetricPoint",
    "ModelCheck",
    "NotFoundError",
    "PermissionDeniedError",
    "Queue",
    "QueueEntry",
    "Quota",
    "RateLimitError",
    "ReasonCode",
    "Resources",
    "RetryPolicy",
    "ServiceUnavailableError",
    "Settings",
    "SftMethod",
    "SignedUrl",
    "TokenRow",
    "TrainingConfig",
    "TunedModel",
    "UnreachableError",
    "WaitTimeoutError",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ftlab' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

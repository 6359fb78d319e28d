"""The config of each kind of job."""

from collections.abc import Mapping
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas.config import JobConfig
from ftlab.schemas.engine import EngineConfig
from ftlab.schemas.evaluation import EvaluationConfig
from ftlab.schemas.export import ExportConfig
from ftlab.status import JobKind

AnyJobConfig = JobConfig | EvaluationConfig | ExportConfig | EngineConfig
"""The config of a job of any kind; `kind` says which."""
SubmittedConfig = JobConfig | EvaluationConfig | ExportConfig
"""The config of a job that users submit."""

CONFIGS: Mapping[JobKind, type[AnyJobConfig]] = {
    JobKind.TRAINING: JobConfig,
    JobKind.EVALUATION: EvaluationConfig,
    JobKind.EXPORT: ExportConfig,
    JobKind.ENGINE: EngineConfig,
}


def config_class(document: Mapping[str, Any]) -> type[AnyJobConfig]:
    """The class of the kind that a document names; a document without a kind is that of a training job.

    Raise `InvalidRequestError` (`invalid_config`) for a kind that does not exist.
    """
    kind = document.get("kind", JobKind.TRAINING)
    if not isinstance(kind, str) or kind not in set(JobKind):
        known = " or ".join(f"'{each}'" for each in JobKind)
        raise InvalidRequestError(f"kind must be {known}.", "invalid_config", "kind")
    return CONFIGS[JobKind(kind)]


def submitted_class(document: Mapping[str, Any]) -> type[SubmittedConfig]:
    """The class of the kind of a document that a user submits.

    Raise `InvalidRequestError` (`invalid_config`) for a kind that does not exist, and for an engine.
    """
    found = config_class(document)
    if issubclass(found, EngineConfig):
        raise InvalidRequestError(
            "Jobs of the kind 'engine' are submitted by the service itself, when a chat request needs one.",
            "invalid_config",
            "kind",
        )
    return found

"""Replies of `/v1`, as OpenAI's API reference defines them. Every key is always sent."""

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")

Purpose = Literal["fine-tune", "fine-tune-results"]
JobState = Literal["validating_files", "queued", "running", "pausing", "paused", "succeeded", "failed", "cancelled"]


class OpenAiObject(BaseModel):
    """Base of the replies. Fields of ours come after those of OpenAI."""

    model_config = ConfigDict(extra="allow", frozen=True)


class OpenAiList(OpenAiObject, Generic[Item]):
    """One page. `after` of the next request is the id of the last item."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None = None
    last_id: str | None = None


class OpenAiFile(OpenAiObject):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: Purpose = "fine-tune"
    status: Literal["processed"] = "processed"
    status_details: str | None = None


class OpenAiDeleted(OpenAiObject):
    id: str
    object: str
    deleted: bool = True


class OpenAiUpload(OpenAiObject):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Purpose = "fine-tune"
    status: Literal["pending", "completed", "cancelled"]
    file: OpenAiFile | None = None


class OpenAiUploadPart(OpenAiObject):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


class OpenAiJobError(OpenAiObject):
    code: str
    message: str
    param: str | None


class OpenAiHyperparameters(OpenAiObject):
    n_epochs: Literal["auto"] | int
    batch_size: Literal["auto"] | int
    learning_rate_multiplier: Literal["auto"] | float


class OpenAiJob(OpenAiObject):
    """A fine-tuning job. Besides these fields it has the settings of the job's config, under our names."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    model: str
    fine_tuned_model: str | None
    organization_id: str
    status: JobState
    training_file: str
    validation_file: str | None
    result_files: list[str]
    hyperparameters: OpenAiHyperparameters
    trained_tokens: int | None
    seed: int
    error: OpenAiJobError | None
    estimated_finish: int | None
    integrations: list[Any]
    metadata: dict[str, str] | None
    method: dict[str, Any] | None
    """`None` for a job whose method OpenAI does not have."""
    job_id: str
    """Our id of the job, for the command line and the web app."""
    message: str
    """One sentence: what the job is doing, or why it ended and what to do."""
    queue_position: int | None


class OpenAiEvent(OpenAiObject):
    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None


class OpenAiCheckpoint(OpenAiObject):
    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, float]


class OpenAiModel(OpenAiObject):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    shutdown_date: str | None = None


class OpenAiEndpoint(OpenAiObject):
    """A webhook endpoint; `signing_secret` is there only when it has just been made."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    updated_at: int | None = None
    event_types: list[str]
    name: str
    url: str
    signing_secret_hint: str | None


class OpenAiEndpointTest(OpenAiObject):
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    event_type: str
    status_code: int
    success: Literal[True] = True
    webhook_endpoint_id: str


class OpenAiEventTypes(OpenAiObject):
    object: Literal["list"] = "list"
    data: list[str]


def page(items: list[Item], *, has_more: bool) -> "OpenAiList[Item]":
    """One page of items that have an `id`."""
    ids = [str(getattr(item, "id", "")) for item in items]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return OpenAiList(data=items, has_more=has_more, first_id=first, last_id=last)

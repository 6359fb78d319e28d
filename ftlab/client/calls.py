"""Every call of the HTTP API: what is sent, and how the answer is read."""

import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from ftlab.client.wire import FileBody, OnProgress, Reply, Request
from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.life import JobStatus
from ftlab.schemas import (
    Attempt,
    Checkpoint,
    Dataset,
    Event,
    EventKind,
    Job,
    LogLine,
    MetricPoint,
    Page,
    Queue,
    Quota,
    TunedModel,
    WireModel,
)
from ftlab.schemas.job_file import parse_job_config

Statuses = JobStatus | str | Collection[JobStatus | str] | None
"""One status, several, or any."""
Kinds = EventKind | str | Collection[EventKind | str] | None
"""One kind of events, several, or all."""

T = TypeVar("T")
Item = TypeVar("Item")

MAX_PAGE = 100
"""Most records the service puts into one page."""
EVENTS_PAGE = 500
UPLOAD_TIMEOUT_S = 900.0
"""The service checks every row of an upload before it answers."""
_JOBS = "/api/training/jobs"
_QUOTA = "/api/quota"


class Listing(WireModel, Generic[Item]):
    """A list that comes whole."""

    data: list[Item]


class EventsPage(WireModel):
    """Events after some sequence number; `last_seq` is the newest there is."""

    data: list[Event]
    last_seq: int


@dataclass(frozen=True)
class Call(Generic[T]):
    request: Request
    parse: Callable[[Reply], T]
    """Raises `ValueError` for an answer of another shape."""


def health() -> Call[dict[str, Any]]:
    return Call(Request("GET", "/health", is_probe=True), _reader(dict[str, Any]))


def ready() -> Call[dict[str, Any]]:
    return Call(Request("GET", "/ready", is_probe=True), _reader(dict[str, Any]))


def create_job(config: Any, idempotency_key: str | None) -> Call[Job]:
    """Raises `InvalidRequestError` before anything is sent when the config is wrong."""
    checked = parse_job_config(config)
    request = _with_json("POST", _JOBS, checked.model_dump(mode="json"))
    return Call(replace(request, headers={**request.headers, **_idempotent(idempotency_key)}), _reader(Job))


def get_job(job: str) -> Call[Job]:
    return Call(Request("GET", _job_path(job)), _reader(Job))


def jobs_page(status: Statuses, after: str | None, limit: int) -> Call[Page[Job]]:
    params = _params(status=status, after=after, limit=limit)
    return Call(Request("GET", _JOBS, params), _reader(Page[Job]))


def cancel_job(job: str) -> Call[Job]:
    return _order(job, "cancel")


def pause_job(job: str) -> Call[Job]:
    return _order(job, "pause")


def resume_job(job: str, checkpoint: str | None) -> Call[Job]:
    return _order(job, "resume", None if checkpoint is None else {"checkpoint": checkpoint})


def move_to_front(job: str) -> Call[Job]:
    return _order(job, "move", {"to": "front"})


def set_priority(job: str, priority: int) -> Call[Job]:
    return Call(_with_json("PATCH", _job_path(job), {"priority": priority}), _reader(Job))


def events_page(job: str, after: int, kinds: Kinds = None) -> Call[EventsPage]:
    params = _params(after=after, limit=EVENTS_PAGE, kind=kinds)
    return Call(Request("GET", f"{_job_path(job)}/events", params), _reader(EventsPage))


def metrics(job: str, names: Sequence[str] | None, max_points: int | None) -> Call[list[MetricPoint]]:
    params = _params(names=",".join(names) if names else None, max_points=max_points)
    return Call(Request("GET", f"{_job_path(job)}/metrics", params), _items(MetricPoint))


def logs(job: str, tail: int) -> Call[list[LogLine]]:
    return Call(Request("GET", f"{_job_path(job)}/logs", _params(tail=tail)), _items(LogLine))


def checkpoints(job: str) -> Call[list[Checkpoint]]:
    return Call(Request("GET", f"{_job_path(job)}/checkpoints"), _items(Checkpoint))


def attempts(job: str) -> Call[list[Attempt]]:
    return Call(Request("GET", f"{_job_path(job)}/attempts"), _items(Attempt))


def queue() -> Call[Queue]:
    return Call(Request("GET", "/api/training/queue"), _reader(Queue))


def get_quota() -> Call[Quota]:
    return Call(Request("GET", _QUOTA), _reader(Quota))


def set_quota(limits: Mapping[str, object]) -> Call[Quota]:
    return Call(_with_json("PUT", _QUOTA, limits), _reader(Quota))


def upload_dataset(path: Path, name: str | None, bucket: str | None, on_progress: OnProgress | None) -> Call[Dataset]:
    """Raises `InvalidRequestError` when there is no such file."""
    if not path.is_file():
        raise InvalidRequestError(f"There is no file {str(path)!r}.", "file_not_found", "file")
    params = _params(name=name or path.name, bucket=bucket)
    headers = {"content-type": "application/octet-stream", "x-filename": quote(path.name)}
    body = FileBody(path, path.stat().st_size, on_progress)
    request = Request("POST", "/api/datasets", params, headers, body, timeout_s=UPLOAD_TIMEOUT_S)
    return Call(request, _reader(Dataset))


def datasets_page(after: str | None, limit: int) -> Call[Page[Dataset]]:
    return Call(Request("GET", "/api/datasets", _params(after=after, limit=limit)), _reader(Page[Dataset]))


def get_dataset(dataset: str) -> Call[Dataset]:
    return Call(Request("GET", f"/api/datasets/{segment(dataset)}"), _reader(Dataset))


def delete_dataset(dataset: str) -> Request:
    return Request("DELETE", f"/api/datasets/{segment(dataset)}")


def models_page(after: str | None, limit: int) -> Call[Page[TunedModel]]:
    return Call(Request("GET", "/api/models", _params(after=after, limit=limit)), _reader(Page[TunedModel]))


def get_model(model: str) -> Call[TunedModel]:
    return Call(Request("GET", f"/api/models/{segment(model)}"), _reader(TunedModel))


def model_download(job: str, checkpoint: str | None) -> Request:
    return Request("GET", f"{_job_path(job)}/download/model", _params(checkpoint=checkpoint))


def logs_download(job: str) -> Request:
    return Request("GET", f"{_job_path(job)}/download/logs")


def dataset_download(dataset: str) -> Request:
    return Request("GET", f"/api/datasets/{segment(dataset)}/content")


def socket_path(job: str) -> str:
    return f"/ws/training/{segment(job)}"


def segment(text: str) -> str:
    """One path segment. Raises `NotFoundError` for text that cannot be one: there is no such record."""
    if text in ("", ".", "..") or "/" in text:
        raise NotFoundError(f"There is no record {text!r}.")
    return quote(text, safe="")


def _job_path(job: str) -> str:
    return f"{_JOBS}/{segment(job)}"


def _order(job: str, what: str, document: Mapping[str, object] | None = None) -> Call[Job]:
    """A request that changes a job; the key makes it one that may be repeated."""
    request = _with_json("POST", f"{_job_path(job)}/{what}", document)
    return Call(replace(request, headers={**request.headers, **_idempotent(None)}), _reader(Job))


def _with_json(method: str, path: str, document: Mapping[str, object] | None) -> Request:
    if document is None:
        return Request(method, path)
    return Request(method, path, headers={"content-type": "application/json"}, body=json.dumps(document).encode())


def _idempotent(key: str | None) -> dict[str, str]:
    if key is not None and not (key and key.isascii() and key.isprintable()):
        raise InvalidRequestError("An idempotency key is printable ASCII text.", param="idempotency_key")
    return {"idempotency-key": key or f"ftlab-{uuid.uuid4().hex}"}


def _params(**values: object) -> dict[str, str | list[str]]:
    given = {name: value for name, value in values.items() if value is not None}
    return {
        name: [str(item) for item in value] if isinstance(value, list | tuple | set | frozenset) else str(value)
        for name, value in given.items()
    }


def _reader(shape: type[T]) -> Callable[[Reply], T]:
    adapter = TypeAdapter(shape)
    return lambda reply: adapter.validate_json(reply.content)


def _items(shape: type[Item]) -> Callable[[Reply], list[Item]]:
    read: Callable[[Reply], Listing[Item]] = _reader(Listing[shape])  # type: ignore[valid-type]
    return lambda reply: read(reply).data

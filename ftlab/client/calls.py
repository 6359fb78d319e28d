"""Every call of the HTTP API: what is sent, and how the answer is read."""

import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from ftlab.client.wire import Reply, Request
from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.schemas import (
    Attempt,
    Checkpoint,
    Dataset,
    DatasetPreview,
    Event,
    EventKind,
    Job,
    LogLine,
    MetricPoint,
    ModelCheck,
    Page,
    Queue,
    Quota,
    SignedUrl,
    TunedModel,
    WireModel,
)
from ftlab.schemas.checks import CheckReport, CheckState, TokenRow
from ftlab.schemas.job_file import parse_job_config
from ftlab.status import JobStatus

Statuses = JobStatus | str | Collection[JobStatus | str] | None
"""One status, several, or any."""
Kinds = EventKind | str | Collection[EventKind | str] | None
"""One kind of events, several, or all."""

T = TypeVar("T")
Item = TypeVar("Item")

MAX_PAGE = 100
"""Most records the service puts into one page."""
EVENTS_PAGE = 500
FILES_TIMEOUT_S = 900.0
"""The service answers when the files are there, which it may have to bring from a bucket elsewhere."""
_JOBS = "/api/training/jobs"
_QUOTA = "/api/quota"


class Listing(WireModel, Generic[Item]):
    """A list that comes whole."""

    data: list[Item]


@dataclass(frozen=True)
class ReadOptions:
    """How the rows of a dataset are to be read; `None` leaves the choice to the service. Names as in a job's config."""

    model: str
    max_length: int | None = None
    assistant_only_loss: bool | None = None
    packing: bool | None = None

    def params(self) -> dict[str, object]:
        values = {name: getattr(self, name) for name in ("model", "max_length", "assistant_only_loss", "packing")}
        return {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}


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
    return Call(Request("GET", "/health", is_probe=True), reader(dict[str, Any]))


def ready() -> Call[dict[str, Any]]:
    return Call(Request("GET", "/ready", is_probe=True), reader(dict[str, Any]))


def create_job(config: Any, idempotency_key: str | None) -> Call[Job]:
    """Raises `InvalidRequestError` before anything is sent when the config is wrong."""
    checked = parse_job_config(config)
    request = with_json("POST", _JOBS, checked.model_dump(mode="json"))
    return Call(replace(request, headers={**request.headers, **_idempotent(idempotency_key)}), reader(Job))


def get_job(job: str) -> Call[Job]:
    return Call(Request("GET", _job_path(job)), reader(Job))


def jobs_page(status: Statuses, after: str | None, limit: int) -> Call[Page[Job]]:
    params = _params(status=status, after=after, limit=limit)
    return Call(Request("GET", _JOBS, params), reader(Page[Job]))


def cancel_job(job: str) -> Call[Job]:
    return _order(job, "cancel")


def pause_job(job: str) -> Call[Job]:
    return _order(job, "pause")


def resume_job(job: str, checkpoint: str | None) -> Call[Job]:
    return _order(job, "resume", None if checkpoint is None else {"checkpoint": checkpoint})


def append_files(job: str, datasets: Sequence[str], after: int) -> Call[Job]:
    """`after` is how many files the job has."""
    return _order(job, "batches", {"datasets": list(datasets), "after": after})


def move_to_front(job: str) -> Call[Job]:
    return _order(job, "move", {"to": "front"})


def set_priority(job: str, priority: int) -> Call[Job]:
    return Call(with_json("PATCH", _job_path(job), {"priority": priority}), reader(Job))


def events_page(job: str, after: int, kinds: Kinds = None) -> Call[EventsPage]:
    params = _params(after=after, limit=EVENTS_PAGE, kind=kinds)
    return Call(Request("GET", f"{_job_path(job)}/events", params), reader(EventsPage))


def metrics(job: str, names: Sequence[str] | None, max_points: int | None) -> Call[list[MetricPoint]]:
    params = _params(names=",".join(names) if names else None, max_points=max_points)
    return Call(Request("GET", f"{_job_path(job)}/metrics", params), _items(MetricPoint))


def logs(job: str, tail: int) -> Call[list[LogLine]]:
    return Call(Request("GET", f"{_job_path(job)}/logs", _params(tail=tail)), _items(LogLine))


def checkpoints(job: str) -> Call[list[Checkpoint]]:
    return Call(Request("GET", f"{_job_path(job)}/checkpoints"), _items(Checkpoint))


def attempts(job: str) -> Call[list[Attempt]]:
    return Call(Request("GET", f"{_job_path(job)}/attempts"), _items(Attempt))


def queue(after: str | None, limit: int) -> Call[Queue]:
    return Call(Request("GET", "/api/training/queue", _params(after=after, limit=limit)), reader(Queue))


def get_quota() -> Call[Quota]:
    return Call(Request("GET", _QUOTA), reader(Quota))


def set_quota(limits: Mapping[str, object]) -> Call[Quota]:
    return Call(with_json("PUT", _QUOTA, limits), reader(Quota))


def datasets_page(after: str | None, limit: int) -> Call[Page[Dataset]]:
    return Call(Request("GET", "/api/datasets", _params(after=after, limit=limit)), reader(Page[Dataset]))


def get_dataset(dataset: str) -> Call[Dataset]:
    return Call(Request("GET", f"/api/datasets/{segment(dataset)}"), reader(Dataset))


def move_dataset(dataset: str, bucket: str) -> Call[Dataset]:
    request = with_json("POST", f"/api/datasets/{segment(dataset)}/move", {"bucket": bucket})
    return Call(replace(request, may_repeat=True, timeout_s=FILES_TIMEOUT_S), reader(Dataset))


def dataset_url(dataset: str, expires_s: int | None) -> Call[SignedUrl]:
    document = None if expires_s is None else {"expires_s": expires_s}
    request = with_json("POST", f"/api/datasets/{segment(dataset)}/url", document)
    return Call(replace(request, may_repeat=True), reader(SignedUrl))


def delete_dataset(dataset: str) -> Request:
    return Request("DELETE", f"/api/datasets/{segment(dataset)}")


def dataset_preview(dataset: str, rows: int) -> Call[DatasetPreview]:
    request = Request("GET", f"/api/datasets/{segment(dataset)}/preview", _params(rows=rows))
    return Call(replace(request, timeout_s=FILES_TIMEOUT_S), reader(DatasetPreview))


def check_dataset(
    dataset: str, options: ReadOptions, eval_dataset: str | None, max_findings: int | None
) -> Call[CheckReport | CheckState]:
    """Asking starts the work, asking again tells how far it is: it may be repeated."""
    params = _params(**options.params(), eval_dataset=eval_dataset, max_findings=max_findings)
    request = Request("POST", f"/api/datasets/{segment(dataset)}/check", params, _idempotent(None))
    report, state = reader(CheckReport), reader(CheckState)
    return Call(request, lambda reply: state(reply) if reply.status == 202 else report(reply))


def dataset_tokens(dataset: str, options: ReadOptions, row: int) -> Call[list[TokenRow]]:
    params = _params(**options.params(), row=row)
    request = Request("GET", f"/api/datasets/{segment(dataset)}/tokens", params)
    return Call(replace(request, timeout_s=FILES_TIMEOUT_S), _items(TokenRow))


def models_page(after: str | None, limit: int) -> Call[Page[TunedModel]]:
    return Call(Request("GET", "/api/models", _params(after=after, limit=limit)), reader(Page[TunedModel]))


def get_model(model: str) -> Call[TunedModel]:
    return Call(Request("GET", f"/api/models/{segment(model)}"), reader(TunedModel))


def check_model(ref: str) -> Call[ModelCheck]:
    """A question: it may be repeated."""
    request = with_json("POST", "/api/models/check", {"model": ref})
    return Call(replace(request, headers={**request.headers, **_idempotent(None)}), reader(ModelCheck))


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
    request = with_json("POST", f"{_job_path(job)}/{what}", document)
    return Call(replace(request, headers={**request.headers, **_idempotent(None)}), reader(Job))


def with_json(method: str, path: str, document: Mapping[str, object] | None) -> Request:
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


def reader(shape: type[T]) -> Callable[[Reply], T]:
    adapter = TypeAdapter(shape)
    return lambda reply: adapter.validate_json(reply.content)


def _items(shape: type[Item]) -> Callable[[Reply], list[Item]]:
    read: Callable[[Reply], Listing[Item]] = reader(Listing[shape])  # type: ignore[valid-type]
    return lambda reply: read(reply).data

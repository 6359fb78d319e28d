"""Requests, the shapes of their replies, and failed connections; nothing here does any I/O."""

import json
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import quote

from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.schemas import WireModel
from ftlab.status import JobStatus

if TYPE_CHECKING:
    from ftlab.schemas import EventKind

Item = TypeVar("Item")

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes moved so far and, when it is known, with their total."""
Statuses = JobStatus | str | Collection[JobStatus | str] | None
"""One status, several, or any."""
Kinds: TypeAlias = "EventKind | str | Collection[EventKind | str] | None"
"""One kind of events, several, or all."""

JOBS_PATH = "/api/training/jobs"
CHAINS_PATH = "/api/training/chains"
SWEEPS_PATH = "/api/sweeps"
COMPARE_PATH = "/api/training/compare"
CONNECT_TIMEOUT_S = 10.0
NO_ANSWER = "no answer in time"
CHUNK_BYTES = 256 * 1024
MAX_PAGE = 100
"""Most records the service puts into one page."""
EVENTS_PAGE = 500
SILENCE_S = 45.0
"""A stream with nothing to read for three of the service's pings is dead."""
FILES_TIMEOUT_S = 900.0
"""Timeout of requests for which the service may have to fetch or check whole files."""


@dataclass(frozen=True)
class FileBody:
    """A request body that is read from a file while it is sent."""

    path: Path
    size_bytes: int
    """How much is sent, from `offset` on."""
    on_progress: OnProgress | None = None
    offset: int = 0
    total_bytes: int | None = None
    """Size of the whole file, where this is a piece of it."""

    def report(self, sent: int) -> None:
        """Report the progress of the whole file after `sent` bytes of this body."""
        if self.on_progress:
            self.on_progress(self.offset + sent, self.size_bytes if self.total_bytes is None else self.total_bytes)


@dataclass(frozen=True)
class Request:
    """One HTTP request, relative to the service's address. Parameters that are `None` are left out."""

    method: str
    path: str
    params: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, object] | None = field(default=None, repr=False)
    """Sent as JSON. It may hold a secret."""
    file: FileBody | None = None
    timeout_s: float | None = None
    """Overrides the client's timeout."""
    idempotency_key: str | None = None
    is_probe: bool = False
    """Sent only once: the request asks for the current state."""
    may_repeat: bool = False
    """A POST that has the same effect twice as once, without a key."""

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.method != "POST" or self.may_repeat or self.idempotency_key is not None

    def query(self, owner: str | None) -> dict[str, str | list[str]]:
        """The parameters as texts; `owner` is the user for whom an admin acts."""
        params = {"owner": owner, **self.params}
        return {name: _param(value) for name, value in params.items() if value is not None}

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers, with those of the key and of the document."""
        headers = dict(self.headers)
        if self.idempotency_key is not None:
            headers["idempotency-key"] = self.idempotency_key
        if self.document is not None:
            headers["content-type"] = "application/json"
        return headers

    @property
    def content(self) -> bytes | None:
        """The body that is not read from a file."""
        return None if self.document is None else json.dumps(self.document).encode()


class Reply(Protocol):
    """A reply to a request, such as an `httpx2.Response`."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    @property
    def is_success(self) -> bool: ...
    def json(self) -> Any: ...


class Listing(WireModel, Generic[Item]):
    """A list that comes whole."""

    data: list[Item]


@dataclass(frozen=True)
class UploadOptions:
    """What a caller says about a dataset beside its file; `None` leaves it to the service."""

    name: str | None = None
    bucket: str | None = None
    shape: str | None = None
    columns: Mapping[str, str] | None = None
    accept_partial: bool = False

    def fields(self, path: Path) -> dict[str, object]:
        """What is given, by its name on the wire."""
        columns = dict(self.columns) if self.columns else None
        found = {"name": self.name or path.name, "bucket": self.bucket, "shape": self.shape, "columns": columns}
        given: dict[str, object] = {name: value for name, value in found.items() if value is not None}
        return given | {"accept_partial": True} if self.accept_partial else given


@dataclass(frozen=True)
class ReadOptions:
    """How the rows of a dataset are read; `None` leaves the choice to the service. Names as in a job's config."""

    model: str
    max_length: int | None = None
    assistant_only_loss: bool | None = None
    packing: bool | None = None


def _param(value: object) -> str | list[str]:
    if isinstance(value, bool):
        return str(value).lower()
    return [str(item) for item in value] if isinstance(value, list | tuple | set | frozenset) else str(value)


def reason_of(error: Exception) -> str:
    """Why a connection failed."""
    return str(error) or type(error).__name__


class Fault(Exception):
    """A connection that failed. It never leaves this package: it becomes a retry or a named error."""

    def __init__(self, reason: str, was_sent: bool = True) -> None:
        super().__init__(reason, was_sent)
        self.reason = reason
        self.was_sent = was_sent
        """False when the service cannot have seen the request."""


class SocketClosed(Fault):
    """A WebSocket that could not be opened, was closed, or has been silent for too long."""


def segment(text: str) -> str:
    """One path segment. Raises `NotFoundError` for text that cannot be one: there is no such record."""
    if text in ("", ".", "..") or "/" in text:
        raise NotFoundError(f"There is no record {text!r}.")
    return quote(text, safe="")


def job_path(job: str) -> str:
    return f"{JOBS_PATH}/{segment(job)}"


def dataset_path(dataset_id: str) -> str:
    return f"/api/datasets/{segment(dataset_id)}"


def template_path(name: str) -> str:
    return f"/api/templates/{segment(name)}"


def sweep_path(sweep: str) -> str:
    return f"{SWEEPS_PATH}/{segment(sweep)}"


def checkpoint_path(job: str, name: str) -> str:
    return f"{job_path(job)}/checkpoints/{segment(name)}"


def channel_path(name: str) -> str:
    return f"/api/notifications/channels/{segment(name)}"


def key_for_retries(given: str | None = None) -> str:
    """An idempotency key, generated unless one is given. Raises `InvalidRequestError` for one that cannot be sent."""
    if given is not None and not (given and given.isascii() and given.isprintable()):
        raise InvalidRequestError("An idempotency key must be printable ASCII text.", param="idempotency_key")
    return given or f"ftlab-{uuid.uuid4().hex}"

"""What goes out and what comes back, without any input or output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes moved so far and, when it is known, with their total."""


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
        """Tell how far the whole file is, after so many bytes of this body."""
        if self.on_progress:
            self.on_progress(self.offset + sent, self.size_bytes if self.total_bytes is None else self.total_bytes)


@dataclass(frozen=True)
class Request:
    """One HTTP request, relative to the service's address."""

    method: str
    path: str
    params: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileBody | None = None
    timeout_s: float | None = None
    """Overrides the client's timeout."""
    is_probe: bool = False
    """Sent once only: what is asked for is how things stand now."""
    may_repeat: bool = False
    """A POST that the service knows again."""

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.method != "POST" or self.may_repeat or "idempotency-key" in self.headers


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
class Reply:
    """One HTTP answer. Header names are lower case; `content` is empty when a body is read in chunks."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class Fault(Exception):
    """A connection that failed. It never leaves this package: steps turn it into a retry or a named error."""

    def __init__(self, reason: str, was_sent: bool = True) -> None:
        super().__init__(reason, was_sent)
        self.reason = reason
        self.was_sent = was_sent
        """False when the service cannot have seen the request."""


class SocketClosed(Fault):
    """A WebSocket that could not be opened, was closed, or has been silent for too long."""

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
    on_progress: OnProgress | None = None


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

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.method != "POST" or "idempotency-key" in self.headers


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

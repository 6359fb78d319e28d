"""Calls of httpx2 and websockets, and the meaning of their failures."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx2
from websockets.asyncio.client import ClientConnection as AsyncClientConnection
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection

from ftlab.client.endpoint import Endpoint
from ftlab.client.wire import Fault, Request, SocketClosed, segment
from ftlab.errors import InvalidRequestError
from ftlab.schemas import Event

CHUNK_BYTES = 256 * 1024
CONNECT_TIMEOUT_S = 10.0
MAX_FRAME_BYTES = 32 * 1024**2

_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_OURS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)


def client_options(endpoint: Endpoint) -> dict[str, Any]:
    """Arguments of `httpx2.Client` and `httpx2.AsyncClient`."""
    return {
        "base_url": endpoint.base_url,
        "headers": endpoint.headers,
        "timeout": _timeout(endpoint.timeout_s),
        # A proxy of the environment is not meant for the service on this machine.
        "trust_env": not endpoint.is_loopback,
        # Without TLS there is no certificate to verify, and loading those of the system takes 0.1 s.
        "verify": not (endpoint.is_loopback and endpoint.base_url.startswith("http://")),
    }


def request_options(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """Arguments of `request` and `stream` of httpx2, without a body that is read from a file."""
    headers = dict(request.headers)
    options: dict[str, Any] = {"method": request.method, "url": request.path, "headers": headers}
    params = {"owner": endpoint.owner, **request.params}
    options["params"] = {name: _param(value) for name, value in params.items() if value is not None}
    if request.timeout_s is not None:
        options["timeout"] = _timeout(request.timeout_s)
    if request.idempotency_key is not None:
        headers["idempotency-key"] = request.idempotency_key
    if request.document is not None:
        headers["content-type"] = "application/json"
        options["content"] = json.dumps(request.document).encode()
    if request.file is not None:
        headers["content-length"] = str(request.file.size_bytes)
    return options


def socket_options(endpoint: Endpoint, job_id: str, after: int) -> dict[str, Any]:
    """Arguments of `connect` of websockets, sync and asyncio."""
    query = {"after": str(after)} | ({"owner": endpoint.owner} if endpoint.owner else {})
    return {
        "uri": f"{endpoint.socket_url}/ws/training/{segment(job_id)}?{urlencode(query)}",
        "additional_headers": endpoint.headers,
        "user_agent_header": None,
        "compression": None,
        "proxy": None if endpoint.is_loopback else True,
        "open_timeout": CONNECT_TIMEOUT_S,
        "close_timeout": 1.0,
        "max_size": MAX_FRAME_BYTES,
    }


async def async_receive(socket: AsyncClientConnection, timeout_s: float) -> str:
    """The next text frame."""
    async with asyncio.timeout(timeout_s):
        return await socket.recv(decode=True)


def receive(socket: ClientConnection, timeout_s: float) -> str:
    """The next text frame."""
    return socket.recv(timeout_s, decode=True)


def read_frame(text: str) -> tuple[str, list[Event]]:
    """The frame's type and its events. Kinds of frames that a later service may add are let through.

    Raises `SocketClosed` for an error frame and for a frame that cannot be read.
    """
    try:
        frame = json.loads(text)
        kind = frame["type"]
        events = frame.get("events", ()) if kind == "events" else ()
        if kind != "error":
            return kind, [Event.model_validate(event) for event in events]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SocketClosed("a frame cannot be read") from None
    raise SocketClosed("the service refused the socket")


@contextmanager
def http_faults() -> Iterator[None]:
    """Raise a `Fault` for a connection that fails, and `InvalidRequestError` for a request that cannot be sent."""
    try:
        yield
    except _OURS as error:
        raise InvalidRequestError(f"The request cannot be sent: {error}.") from error
    except httpx2.TransportError as error:
        reason = "no answer in time" if isinstance(error, httpx2.TimeoutException) else _reason(error)
        raise Fault(reason, was_sent=not isinstance(error, _UNSENT)) from error


@contextmanager
def socket_faults() -> Iterator[None]:
    """Raise `SocketClosed` for whatever websockets raises when a socket cannot be opened or breaks."""
    try:
        yield
    except (OSError, TimeoutError, EOFError, WebSocketException) as error:
        raise SocketClosed(_reason(error)) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _param(value: object) -> str | list[str]:
    if isinstance(value, bool):
        return str(value).lower()
    return [str(item) for item in value] if isinstance(value, list | tuple | set | frozenset) else str(value)


def _timeout(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT_S))

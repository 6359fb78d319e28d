"""What both performers share: how httpx2 and websockets are called, and what their failures mean."""

from typing import Any, NoReturn
from urllib.parse import urlencode

import httpx2
from websockets.exceptions import WebSocketException

from ftlab.client.endpoint import Endpoint
from ftlab.client.steps import OpenSocket
from ftlab.client.wire import Fault, FileBody, Reply, Request, SocketClosed
from ftlab.errors import InvalidRequestError

CHUNK_BYTES = 256 * 1024
CONNECT_TIMEOUT_S = 10.0
MAX_FRAME_BYTES = 32 * 1024**2

SOCKET_FAILURES = (OSError, TimeoutError, EOFError, WebSocketException)
"""What websockets raises when a socket cannot be opened or is gone."""

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
    }


def request_options(request: Request) -> dict[str, Any]:
    """Arguments of `build_request`, without a body that is read from a file."""
    options: dict[str, Any] = {
        "method": request.method,
        "url": request.path,
        "params": dict(request.params),
        "headers": dict(request.headers),
    }
    if request.timeout_s is not None:
        options["timeout"] = _timeout(request.timeout_s)
    if isinstance(request.body, FileBody):
        options["headers"]["content-length"] = str(request.body.size_bytes)
    elif request.body is not None:
        options["content"] = request.body
    return options


def socket_options(endpoint: Endpoint, effect: OpenSocket) -> dict[str, Any]:
    """Arguments of `connect` of websockets, sync and asyncio."""
    return {
        "uri": f"{endpoint.socket_url}{effect.path}?{urlencode({'after': effect.after})}",
        "additional_headers": endpoint.headers,
        "user_agent_header": None,
        "compression": None,
        "proxy": None if endpoint.is_loopback else True,
        "open_timeout": CONNECT_TIMEOUT_S,
        "close_timeout": 1.0,
        "max_size": MAX_FRAME_BYTES,
    }


def reply_of(response: httpx2.Response, content: bytes) -> Reply:
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, content)


def raise_fault(error: httpx2.TransportError) -> NoReturn:
    """Raise the `Fault` that this is, or `InvalidRequestError` for a request that can never be sent."""
    if isinstance(error, _OURS):
        raise InvalidRequestError(f"The request cannot be sent: {error}.") from error
    raise Fault(_reason(error), was_sent=not isinstance(error, _UNSENT)) from error


def raise_socket_closed(error: BaseException) -> NoReturn:
    raise SocketClosed(_reason(error)) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__


def _timeout(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT_S))

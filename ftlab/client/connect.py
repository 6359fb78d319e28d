"""Calls of httpx2, and the meaning of their failures."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from ftlab.client.endpoint import Endpoint
from ftlab.client.wire import CONNECT_TIMEOUT_S, NO_ANSWER, Fault, Request, reason_of
from ftlab.errors import InvalidRequestError

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
    options: dict[str, Any] = {"method": request.method, "url": request.path, "headers": request.all_headers}
    options["params"] = request.query(endpoint.owner)
    if request.timeout_s is not None:
        options["timeout"] = _timeout(request.timeout_s)
    if request.document is not None:
        options["content"] = request.content
    if request.file is not None:
        options["headers"]["content-length"] = str(request.file.size_bytes)
    return options


@contextmanager
def http_faults() -> Iterator[None]:
    """Raise a `Fault` for a connection that fails, and `InvalidRequestError` for a request that cannot be sent."""
    try:
        yield
    except _OURS as error:
        raise InvalidRequestError(f"The request cannot be sent: {error}.") from error
    except httpx2.TransportError as error:
        reason = NO_ANSWER if isinstance(error, httpx2.TimeoutException) else reason_of(error)
        raise Fault(reason, was_sent=not isinstance(error, _UNSENT)) from error


def _timeout(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT_S))

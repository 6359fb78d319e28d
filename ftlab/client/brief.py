"""The client of a command that sends a few requests to the service on this machine.

httpx2 knows pools, proxies, TLS and asyncio. Importing it takes a third of the time of such a command, which needs none
of these.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from ftlab.client._sync.client import Client
from ftlab.client._sync.transport import Transport
from ftlab.client.endpoint import Endpoint
from ftlab.client.wire import CONNECT_TIMEOUT_S, NO_ANSWER, Fault, Reply, Request, reason_of
from ftlab.errors import InvalidRequestError


class BriefClient(Client):
    """A `Client` that imports less. Each request to the service on this machine has a connection of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self._transport.endpoint.is_loopback and self.base_url.startswith("http://"):
            self._transport = BriefTransport(self._transport.endpoint)


class BriefTransport(Transport):
    """Sends requests by the standard library. Files and streams go the way of any other client."""

    def send(self, request: Request) -> Reply:
        return send(request, self.endpoint) if request.file is None else super().send(request)


@dataclass(frozen=True)
class BriefReply:
    """A reply that was read whole; the names of its headers are in lower case."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    def json(self) -> Any:
        return json.loads(self.content)


def send(request: Request, endpoint: Endpoint) -> BriefReply:
    """Send a request over a connection of its own. Raises `Fault` when the connection fails."""
    address = urlsplit(endpoint.base_url)
    query = urlencode(request.query(endpoint.owner), doseq=True)
    target = f"{address.path}{request.path}{'?' if query else ''}{query}"
    timeout_s = request.timeout_s or endpoint.timeout_s
    connection = HTTPConnection(str(address.hostname), address.port, timeout=min(timeout_s, CONNECT_TIMEOUT_S))
    try:
        _connect(connection)
        connection.sock.settimeout(timeout_s)
        connection.request(request.method, target, request.content, {**endpoint.headers, **request.all_headers})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return BriefReply(response.status, headers, response.read())
    except TimeoutError as error:
        raise Fault(NO_ANSWER) from error
    except (OSError, HTTPException) as error:
        raise Fault(reason_of(error)) from error
    except ValueError as error:
        raise InvalidRequestError(f"The request cannot be sent: {error}.") from error
    finally:
        connection.close()


def _connect(connection: HTTPConnection) -> None:
    try:
        connection.connect()
    except OSError as error:
        reason = NO_ANSWER if isinstance(error, TimeoutError) else reason_of(error)
        raise Fault(reason, was_sent=False) from error

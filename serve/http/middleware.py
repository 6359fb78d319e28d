"""ASGI middleware that every request passes: request id, headers, the last exception handler, Host and Origin check."""

import json
import logging
import re
from collections.abc import Collection
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ftlab.errors import (
    FineTuneLabError,
    InvalidRequestError,
    MalformedRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from ftlab.settings import LOOPBACK_HOSTS
from serve.http.errors import error_of_status, error_response, internal_error
from tracking.store.ids import new_id

DOCS_PATHS = frozenset({"/docs", "/docs/oauth2-redirect"})

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_AUTHORITY = re.compile(r"(\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:[0-9]{1,5})?")
_CSP = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
_DOCS_CSP = f"{_CSP}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

logger = logging.getLogger(__name__)


class Envelope:
    """Gives each request an id, each reply its headers, and each error its shape. Catches all exceptions.

    `sends_request_id` is off where the server in front adds `x-request-id` itself, as Ray Serve does.
    """

    def __init__(self, app: ASGIApp, *, sends_request_id: bool = True) -> None:
        self._app = app
        self._sends_request_id = sends_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        if scope["type"] == "websocket":
            await self._open_socket(scope, receive, send)
            return
        reply = _Reply(send, scope["path"], request_id, self._sends_request_id)
        try:
            _refuse_nul(scope)
            await self._app(scope, receive, reply)
        except ClientDisconnect:
            logger.info("request %s: the client disconnected", request_id)
        except FineTuneLabError as error:
            await error_response(error, request_id)(scope, receive, reply)
        except Exception:
            # The only place that catches everything: an unexpected exception becomes a sentence for the caller and
            # a traceback in the log.
            logger.exception("request %s failed: %s %r", request_id, scope["method"], scope["path"])
            if reply.started:
                raise
            await error_response(internal_error(), request_id)(scope, receive, reply)

    async def _open_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            _refuse_nul(scope)
        except FineTuneLabError:
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)


class HostCheck:
    """Refuses other host names and origins, so that no foreign page reaches the service through DNS or a form."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], takes_addresses: bool = False) -> None:
        """`takes_addresses` accepts every IP address as a host, where other machines reach the service: no foreign page
        has one of ours, whatever DNS says."""
        self._app = app
        self._takes_addresses = takes_addresses
        self._hosts = frozenset(host.lower() for host in hosts) | LOOPBACK_HOSTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        names = headers.getlist("host")
        if len(names) != 1 or not self._is_ours(names[0]):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            raise MalformedRequestError("The service does not accept requests for this host name.", "invalid_host")
        origin = headers.get("origin")
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS and origin is not None:
            self._check_origin(origin, names[0])
        await self._app(scope, receive, send)

    def _check_origin(self, origin: str, host: str) -> None:
        scheme, separator, authority = origin.partition("://")
        is_ours = authority.lower() == host.lower() or self._name_of(authority) in self._hosts
        if not (scheme in ("http", "https") and separator and is_ours):
            raise PermissionDeniedError("Cross-origin requests may not change anything.", "forbidden_origin")

    def _is_ours(self, authority: str) -> bool:
        name = self._name_of(authority)
        return name in self._hosts or (self._takes_addresses and name is not None and _is_address(name))

    @staticmethod
    def _name_of(authority: str) -> str | None:
        match = _AUTHORITY.fullmatch(authority.lower())
        return None if match is None else (match["v6"] or match["name"]).removesuffix(".")


class _Reply:
    """The sending end of one reply."""

    def __init__(self, send: Send, path: str, request_id: str, sends_request_id: bool) -> None:
        self.started = False
        self._send = send
        self._path = path
        self._request_id = request_id
        self._sends_request_id = sends_request_id
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif not self._replaced:
            await self._send(message)

    async def _start(self, message: Message) -> None:
        self.started = True
        headers = MutableHeaders(raw=list(message.get("headers", [])))
        self._add_headers(headers)
        status: int = message["status"]
        is_json = headers.get("content-type", "").startswith("application/json")
        if status < 400 or is_json:
            await self._send({**message, "headers": headers.raw})
            return
        # Starlette replies to errors of files, ranges and mounts in plain text.
        self._replaced = True
        body = json.dumps(error_of_status(status).to_wire(self._request_id)).encode()
        headers["content-type"], headers["content-length"] = "application/json", str(len(body))
        await self._send({**message, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _add_headers(self, headers: MutableHeaders) -> None:
        if self._sends_request_id:
            headers["x-request-id"] = self._request_id
        headers["x-content-type-options"] = "nosniff"
        headers["referrer-policy"] = "no-referrer"
        # Self-contained pages set a stricter policy.
        headers.setdefault("content-security-policy", _DOCS_CSP if self._path in DOCS_PATHS else _CSP)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else new_id("req")


def _refuse_nul(scope: Scope) -> None:
    """Refuse NUL characters before any look-up, as PostgreSQL raises an error for them."""
    if "\0" in scope["path"]:
        raise NotFoundError("There is nothing at this path.")
    if b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
        raise InvalidRequestError("The query contains a NUL character.", "invalid_parameter")

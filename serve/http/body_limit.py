"""ASGI middleware that limits the size of request bodies."""

import asyncio
import re
import time
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ftlab.errors import PayloadTooLargeError
from serve.http.errors import error_response

DATASETS_PATH = "/api/datasets"
PIECES_PATH = "/api/uploads/"
FILES_PATH = "/v1/files"
PARTS_PATH = re.compile(r"/v1/uploads/[^/]+/parts")
MULTIPART_OVERHEAD_BYTES = 64 * 1024
"""Size that boundaries and part headers may add to an upload."""
LINGER_S = 2.0
"""How long the rest of a body is read and dropped after an error, so that the client can read the reply."""


class BodyLimit:
    """Refuses a request whose body exceeds its limit, before the rest of it is read."""

    def __init__(self, app: ASGIApp, *, json_bytes: int, upload_bytes: int) -> None:
        self._app = app
        self._json_bytes = json_bytes
        self._upload_bytes = upload_bytes + MULTIPART_OVERHEAD_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _LimitedBody(receive, send, self._upload_bytes if _is_file(scope) else self._json_bytes)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > body.limit:
            refusal = error_response(body.refuse(), scope["state"]["request_id"])
            await refusal(scope, receive, body.send)
            return
        await self._app(scope, body.receive, body.send)


def _is_file(scope: Scope) -> bool:
    """Whether the body is a file, or a piece of one."""
    if scope["path"] == DATASETS_PATH:
        return scope["method"] in ("POST", "PUT")
    if scope["method"] == "POST":
        return scope["path"] == FILES_PATH or PARTS_PATH.fullmatch(scope["path"]) is not None
    return bool(scope["method"] == "PATCH" and scope["path"].startswith(PIECES_PATH))


class _LimitedBody:
    """The receiving and the sending end of one request, with a counter of its bytes."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self.limit = limit
        self._receive = receive
        self._send = send
        self._num_bytes = 0
        self._is_read = False
        self._is_error = False

    def refuse(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"The request body is larger than {self.limit} bytes.")

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._num_bytes += len(message.get("body", b""))
            self._is_read = not message.get("more_body", False)
            if self._num_bytes > self.limit:
                raise self.refuse()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_error = message["status"] >= HTTPStatus.BAD_REQUEST
        is_end = message["type"] == "http.response.body" and not message.get("more_body", False)
        if self._is_read or not (self._is_error and is_end):
            await self._send(message)
            return
        # Closing the connection while the client still sends would reset it, and the reply would be lost.
        await self._send({**message, "more_body": True})
        await self._drop_rest()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drop_rest(self) -> None:
        end = time.monotonic() + LINGER_S
        while (left := end - time.monotonic()) > 0:
            try:
                message = await asyncio.wait_for(self._receive(), left)
            except TimeoutError:
                return
            if message["type"] != "http.request" or not message.get("more_body", False):
                return

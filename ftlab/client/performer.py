"""Carries steps out over blocking connections."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, TypeVar, cast

import httpx2
from websockets.sync.client import ClientConnection, connect

from ftlab.client.connect import (
    CHUNK_BYTES,
    SOCKET_FAILURES,
    raise_fault,
    raise_socket_closed,
    reply_of,
    request_options,
    socket_options,
)
from ftlab.client.endpoint import Endpoint
from ftlab.client.steps import (
    Effect,
    Emit,
    OpenBody,
    OpenSocket,
    ReadBody,
    Receive,
    Send,
    SendText,
    Sleep,
    Steps,
    Stream,
    Work,
    advance,
)
from ftlab.client.wire import Fault, FileBody, Reply, Request

T = TypeVar("T")


def run(steps: Steps[T], performer: "Performer") -> T:
    """Carry steps out and return what they come to."""
    with closing(performer), closing(steps):
        outcome: Any = None
        try:
            while True:
                outcome = performer.perform(advance(steps, outcome))
        except StopIteration as end:
            return cast("T", end.value)


def iterate(stream: Stream[None], performer: "Performer") -> Iterator[Any]:
    """Carry steps out and yield the items that they emit."""
    with closing(performer), closing(stream):
        outcome: Any = None
        try:
            while True:
                effect = advance(stream, outcome)
                if isinstance(effect, Emit):
                    yield effect.item
                    outcome = None
                else:
                    outcome = performer.perform(effect)
        except StopIteration:
            return


class Performer:
    """One conversation: shares the connection pool, has a socket and a download of its own."""

    def __init__(self, http: httpx2.Client, endpoint: Endpoint, sleep: Callable[[float], None] = time.sleep) -> None:
        self._http = http
        self._endpoint = endpoint
        self._sleep = sleep
        self._open = ExitStack()
        self._chunks: Iterator[bytes] = iter(())
        self._socket: ClientConnection | None = None

    def perform(self, effect: Effect) -> Any:
        """The outcome of an effect; a `Fault` when the connection failed."""
        try:
            return self._perform(effect)
        except Fault as fault:
            return fault

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send(request):
                return self._send(request)
            case OpenBody(request):
                return self._open_body(request)
            case ReadBody():
                return self._read_body()
            case OpenSocket():
                return self._open_socket(effect)
            case Receive(timeout_s):
                return self._receive(timeout_s)
            case SendText(text):
                return self._send_text(text)
            case Sleep(seconds):
                return self._sleep(seconds)
            case Work(function):
                return function()

    def close(self) -> None:
        self._open.close()

    def _send(self, request: Request) -> Reply:
        try:
            response = self._http.send(self._build(request))
        except httpx2.TransportError as error:
            raise_fault(error)
        return reply_of(response, response.content)

    def _open_body(self, request: Request) -> Reply:
        self._open.close()
        try:
            response = self._http.send(self._build(request), stream=True)
            self._open.callback(response.close)
            content = b"" if response.is_success else response.read()
        except httpx2.TransportError as error:
            raise_fault(error)
        self._chunks = response.iter_raw() if response.is_success else iter(())
        return reply_of(response, content)

    def _read_body(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except httpx2.TransportError as error:
            raise_fault(error)

    def _build(self, request: Request) -> httpx2.Request:
        options = request_options(request)
        if isinstance(request.body, FileBody):
            options["content"] = _chunks_of(request.body)
        return self._http.build_request(**options)

    def _open_socket(self, effect: OpenSocket) -> None:
        self._open.close()
        try:
            self._socket = self._open.enter_context(connect(**socket_options(self._endpoint, effect)))
        except SOCKET_FAILURES as error:
            raise_socket_closed(error)

    def _receive(self, timeout_s: float) -> str:
        assert self._socket is not None
        try:
            return self._socket.recv(timeout_s, decode=True)
        except SOCKET_FAILURES as error:
            raise_socket_closed(error)

    def _send_text(self, text: str) -> None:
        assert self._socket is not None
        try:
            self._socket.send(text)
        except SOCKET_FAILURES as error:
            raise_socket_closed(error)


def _chunks_of(body: FileBody) -> Iterator[bytes]:
    sent = 0
    with body.path.open("rb") as file:
        file.seek(body.offset)
        while chunk := file.read(min(CHUNK_BYTES, body.size_bytes - sent)):
            yield chunk
            sent += len(chunk)
            body.report(sent)

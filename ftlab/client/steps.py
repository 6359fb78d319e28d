"""Conversations with the service as generators, so that one text serves the sync and the async client.

A step generator yields what shall be done (`Send`, `Sleep`, ...) and gets the outcome back; a performer does it
over real connections, blocking or awaiting. A failed connection is raised in the generator as a `Fault`.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from ftlab.client.wire import Fault, Reply, Request

T = TypeVar("T")
E = TypeVar("E")


@dataclass(frozen=True)
class Send:
    """Send a request and read the whole answer: `Reply`."""

    request: Request


@dataclass(frozen=True)
class OpenBody:
    """Send a request and read only the head of a successful answer: `Reply`."""

    request: Request


@dataclass(frozen=True)
class ReadBody:
    """The next chunk of the answer that `OpenBody` began: `bytes`, empty at its end."""


@dataclass(frozen=True)
class OpenSocket:
    """Open a WebSocket, closing the one before."""

    path: str
    after: int


@dataclass(frozen=True)
class Receive:
    """The next text frame: `str`."""

    timeout_s: float


@dataclass(frozen=True)
class SendText:
    text: str


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Work:
    """Call something that blocks on a disk; its value comes back."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Emit:
    """Hand one item to the caller, who may take any time."""

    item: Any


Effect = Send | OpenBody | ReadBody | OpenSocket | Receive | SendText | Sleep | Work
Steps = Generator[Effect, Any, T]
"""A conversation that ends with a `T`."""
Stream = Generator[Effect | Emit, Any, T]
"""A conversation that hands out items on its way."""


def advance(steps: Generator[E, Any, Any], outcome: Any) -> E:
    """Hand in the outcome of the last effect, `None` at first, and get the next effect.

    Raises `StopIteration` with the result when the conversation is over.
    """
    return steps.throw(outcome) if isinstance(outcome, Fault) else steps.send(outcome)


def send(request: Request) -> Steps[Reply]:
    return cast("Reply", (yield Send(request)))


def open_body(request: Request) -> Steps[Reply]:
    return cast("Reply", (yield OpenBody(request)))


def read_body() -> Steps[bytes]:
    return cast("bytes", (yield ReadBody()))


def receive(timeout_s: float) -> Steps[str]:
    return cast("str", (yield Receive(timeout_s)))


def work(function: Callable[[], T]) -> Steps[T]:
    return cast("T", (yield Work(function)))

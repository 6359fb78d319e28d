"""Client of the coordinator for any process of the Ray cluster."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from cluster.named_actor import ActorUnreachableError, NamedActor
from cluster.names import COORDINATOR
from cluster.policy.fleet import Fleet
from ftlab.schemas import Resources

LINGER_S = 0.2
"""Wake-ups within this time are sent as one."""
CALL_TIMEOUT_S = 5.0
QUESTION_TIMEOUT_S = 2.0
"""A submission waits this long for the coordinator's answer."""
DRAIN_POLL_S = 0.2

logger = logging.getLogger(__name__)


class RayCoordinatorClient:
    """A `CoordinatorClient` and `Drainable` over the named actor.

    One thread sends the wake-ups: a call takes a millisecond or two, and a caller of `wake` is answering a request. The
    coordinator's own interval makes up for a lost one.
    """

    def __init__(self) -> None:
        self._actor = NamedActor(COORDINATOR)
        self._requested = threading.Event()
        self._start = threading.Lock()
        self._sender: threading.Thread | None = None

    def wake(self) -> None:
        self._requested.set()
        with self._start:
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_forever, name="ftlab-wake", daemon=True)
                self._sender.start()

    def why_too_large(self, resources: Resources) -> str | None:
        try:
            why: str | None = self._actor.call("why_too_large", resources, timeout_s=QUESTION_TIMEOUT_S)
        except ActorUnreachableError:
            return None
        return why

    def machines(self) -> Fleet | None:
        try:
            fleet: Fleet = self._actor.call("machines", timeout_s=QUESTION_TIMEOUT_S)
        except ActorUnreachableError:
            return None
        return fleet

    def hurry(self) -> None:
        """Ask for a tick at once: devices are free, or a job's data is ready."""
        with suppress(ActorUnreachableError):
            self._actor.send("hurry")

    def drain(self) -> None:
        self._actor.call("drain", timeout_s=CALL_TIMEOUT_S)

    def is_drained(self) -> bool:
        return bool(self._actor.call("is_drained", timeout_s=CALL_TIMEOUT_S))

    def end(self) -> None:
        """End the actor: once drained it starts no more jobs, so the next start of the service needs another one."""
        self._actor.end()

    def _send_forever(self) -> None:
        while True:
            self._requested.wait()
            self._requested.clear()
            with suppress(ActorUnreachableError):
                self._actor.send("wake")
            time.sleep(LINGER_S)


class Drainable(Protocol):
    """The part of the coordinator that a stop of the service needs. Raises `ActorUnreachableError` while it is
    unreachable.
    """

    def drain(self) -> None:
        """Start no more jobs, and have the running ones save and stop. Safe to repeat."""

    def is_drained(self) -> bool:
        """Whether there is no live attempt any more."""


def drain(
    coordinator: Drainable,
    timeout_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Have every run save and stop, and wait until no attempt is live; `False` on a timeout.

    The request is repeated: a coordinator that is restarted meanwhile does not know of it.
    """
    deadline = clock() + timeout_s
    while True:
        try:
            coordinator.drain()
            if coordinator.is_drained():
                return True
        except ActorUnreachableError as error:
            logger.warning("%s", error)
        if clock() >= deadline:
            return False
        sleep(DRAIN_POLL_S)

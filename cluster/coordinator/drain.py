"""Bringing every run to a stop with its checkpoint saved, before the service goes down."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import ray

from cluster.names import COORDINATOR, NAMESPACE

CALL_TIMEOUT_S = 5.0
POLL_S = 0.2

logger = logging.getLogger(__name__)


class Drainable(Protocol):
    """The part of the coordinator that a stop of the service needs. Raises `ConnectionError` while it is away."""

    def drain(self) -> None:
        """Start no more jobs, and have those that run save and stop. Safe to repeat."""

    def is_drained(self) -> bool:
        """Whether no attempt lives any more."""


class RayCoordinator:
    """The coordinator actor as a `Drainable`."""

    def drain(self) -> None:
        self._call("drain")

    def is_drained(self) -> bool:
        return bool(self._call("is_drained"))

    def end(self) -> None:
        """End the actor: it starts no more jobs, so the next life of the service needs another one."""
        with suppress(ValueError):  # no actor has the name
            ray.kill(ray.get_actor(COORDINATOR, NAMESPACE), no_restart=True)

    def _call(self, method: str) -> object:
        try:
            return ray.get(getattr(ray.get_actor(COORDINATOR, NAMESPACE), method).remote(), timeout=CALL_TIMEOUT_S)
        except (ValueError, ray.exceptions.RayError) as error:  # `ValueError`: no actor has the name
            raise ConnectionError(str(error)) from error


def drain(
    coordinator: Drainable,
    timeout_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until no attempt lives; `False` when the time is over first.

    It asks anew each time, because a coordinator that is started again meanwhile knows nothing of it.
    """
    deadline = clock() + timeout_s
    while True:
        try:
            coordinator.drain()
            if coordinator.is_drained():
                return True
        except ConnectionError as error:
            logger.warning("The coordinator does not answer: %s", error)
        if clock() >= deadline:
            return False
        sleep(POLL_S)

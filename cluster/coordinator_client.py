"""Reaching the coordinator from any process of the Ray cluster."""

import threading
import time

import ray

from cluster.names import COORDINATOR, NAMESPACE

LINGER_S = 0.2
"""Wake-ups within this time are one."""


class RayCoordinatorClient:
    """A `CoordinatorClient` over the named actor. A lost wake-up is made good by the coordinator's own interval.

    One thread calls the actor: the call takes a millisecond or two, and a caller of `wake` is answering a request.
    """

    def __init__(self) -> None:
        self._actor: ray.actor.ActorHandle | None = None
        self._wanted = threading.Event()
        self._start = threading.Lock()
        self._sender: threading.Thread | None = None

    def wake(self) -> None:
        self._wanted.set()
        with self._start:
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_forever, name="ftlab-wake", daemon=True)
                self._sender.start()

    def attempt_ended(self) -> None:
        """Devices are free: this cannot wait for what else changes."""
        self._call("attempt_ended")

    def _send_forever(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            self._call("wake")
            time.sleep(LINGER_S)

    def _call(self, method: str) -> None:
        if not ray.is_initialized():
            return  # `get_actor` would start a cluster of its own
        try:
            if self._actor is None:
                self._actor = ray.get_actor(COORDINATOR, NAMESPACE)
            getattr(self._actor, method).remote()
        except (ValueError, ray.exceptions.RayError):
            self._actor = None

"""Reaching the coordinator from any process of the Ray cluster."""

import ray

from cluster.names import COORDINATOR, NAMESPACE


class RayCoordinatorClient:
    """A `CoordinatorClient` over the named actor. A lost wake-up is made good by the coordinator's own interval."""

    def __init__(self) -> None:
        self._actor: ray.actor.ActorHandle | None = None

    def wake(self) -> None:
        if not ray.is_initialized():
            return  # `get_actor` would start a cluster of its own
        try:
            if self._actor is None:
                self._actor = ray.get_actor(COORDINATOR, NAMESPACE)
            self._actor.wake.remote()
        except (ValueError, ray.exceptions.RayError):
            self._actor = None

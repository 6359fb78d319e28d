"""The coordinator as a named detached actor."""

import os
import threading
import time

import ray

from cluster.coordinator.coordinator import Coordinator, run_forever, wait_until_abandoned
from cluster.coordinator.faulty_gpus import usable
from cluster.coordinator.ray_backend import RayCluster
from cluster.coordinator.tick_timer import TickTimer
from cluster.events.event_hub import RayEventHubClient
from cluster.named_actor import start_actor
from cluster.names import COORDINATOR, NAMESPACE
from cluster.policy import Fleet, why_too_large
from ftlab.schemas import Resources
from ftlab.settings import load_settings
from tracking.store import Store


class CoordinatorActor:
    """Runs a `Coordinator` in a thread of its own."""

    def __init__(self) -> None:
        settings = load_settings()
        self._store = Store.open(settings.store_url)
        self._cluster = RayCluster(settings)
        self._coordinator = Coordinator(self._store, self._cluster, RayEventHubClient(NAMESPACE), settings)
        self._timer = TickTimer()
        threading.Thread(target=self._run, name="ftlab-coordinator", daemon=True).start()

    def wake(self) -> None:
        """Tick soon: something has changed, for example a job was submitted."""
        self._timer.wake()

    def hurry(self) -> None:
        """Tick at once: a run has ended or a job's data is ready, and the next job can start."""
        self._timer.hurry()

    def why_too_large(self, resources: Resources) -> str | None:
        """The reason why a job with these resources would be refused, before it is submitted."""
        return why_too_large(resources, self.machines())

    def machines(self) -> Fleet:
        """The machines, with the devices they give to training."""
        return usable(self._store, self._cluster.fleet())

    def drain(self) -> None:
        """As `Coordinator.drain`, with a tick at once."""
        self._coordinator.drain()
        self._timer.hurry()

    def is_drained(self) -> bool:
        return self._coordinator.is_drained()

    def ping(self) -> bool:
        return True

    def _run(self) -> None:
        """Schedule until another coordinator, of a second cluster, takes over; once that one has ended, restart."""
        run_forever(self._coordinator, self._timer.pause)
        wait_until_abandoned(self._store, time.sleep)
        os._exit(1)  # Ray restarts the actor, which then remembers nothing


def start_coordinator() -> ray.actor.ActorHandle:
    """Start the coordinator, or find the running one."""
    return start_actor(CoordinatorActor, COORDINATOR)

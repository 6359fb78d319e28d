"""The coordinator as a named detached actor."""

import os
import threading
import time

import ray

from cluster.coordinator.coordinator import Coordinator, run_forever, wait_until_abandoned
from cluster.coordinator.ray_backend import RayCluster
from cluster.coordinator.tick_timer import Pacer
from cluster.events.event_hub import RayEventHubClient
from cluster.names import COORDINATOR, NAMESPACE, ON_HEAD
from ftlab.settings import load_settings
from tracking.store import Store


class CoordinatorActor:
    """Runs a `Coordinator` in a thread of its own."""

    def __init__(self) -> None:
        settings = load_settings()
        self._store = Store.open(settings.store_url)
        self._coordinator = Coordinator(self._store, RayCluster(settings), RayEventHubClient(NAMESPACE), settings)
        self._pacer = Pacer()
        threading.Thread(target=self._run, name="ftlab-coordinator", daemon=True).start()

    def wake(self) -> None:
        """Something has changed, a job was submitted for example."""
        self._pacer.wake()

    def attempt_ended(self) -> None:
        """A run has come to its end: the job behind it need not wait."""
        self._pacer.hurry()

    def drain(self) -> None:
        """As `Coordinator.drain`, at once."""
        self._coordinator.drain()
        self._pacer.hurry()

    def is_drained(self) -> bool:
        return self._coordinator.is_drained()

    def ping(self) -> bool:
        return True

    def _run(self) -> None:
        """Schedule until another coordinator has taken over, one of a second cluster; once that is gone, begin anew."""
        run_forever(self._coordinator, self._pacer.pause)
        wait_until_abandoned(self._store, time.sleep)
        os._exit(1)  # Ray starts the actor again, with nothing remembered


def start_coordinator() -> ray.actor.ActorHandle:
    """Start the coordinator, or find the one that runs."""
    return (
        ray.remote(CoordinatorActor)
        .options(
            name=COORDINATOR,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            resources=ON_HEAD,
            max_restarts=-1,
            max_task_retries=0,
        )
        .remote()
    )

"""The coordinator as a named detached actor."""

import threading
import time

import ray

from cluster.coordinator import Coordinator, run_forever
from cluster.hub import RayHubClient
from cluster.names import COORDINATOR, NAMESPACE
from cluster.ray_cluster import RayCluster
from ftlab.settings import load_settings
from tracking.store import Store

SHORTEST_PAUSE_S = 0.05


class CoordinatorActor:
    """Runs a `Coordinator` in a thread of its own; `wake` makes it tick now."""

    def __init__(self) -> None:
        settings = load_settings()
        coordinator = Coordinator(
            Store.open(settings.store_url), RayCluster(settings), RayHubClient(NAMESPACE), settings
        )
        self._woken = threading.Event()
        threading.Thread(
            target=run_forever, args=(coordinator, self._wait), name="ftlab-coordinator", daemon=True
        ).start()

    def wake(self) -> None:
        self._woken.set()

    def ping(self) -> bool:
        return True

    def _wait(self, interval_s: float) -> None:
        # A burst of submits wakes it once, not once a submit: the API needs the cores more than a tick does.
        time.sleep(SHORTEST_PAUSE_S)
        self._woken.wait(interval_s)
        self._woken.clear()


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
            max_restarts=-1,
            max_task_retries=0,
        )
        .remote()
    )

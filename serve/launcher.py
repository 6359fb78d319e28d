"""Brings the service's actors up on the Ray cluster and keeps them there: `python -m serve.launcher`.

It ends with a non-zero code when the cluster is gone; the supervisor then starts both again. At SIGTERM it has the
running jobs save, disconnects the followers of jobs and shuts the API down.
"""

import logging
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import ray
from ray import serve as ray_serve
from ray.job_config import JobConfig
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

from cluster.coordinator.actor import start_coordinator
from cluster.coordinator_client import RayCoordinatorClient, drain
from cluster.data.worker import start_data_worker
from cluster.event_hub_actor import start_event_hub
from cluster.events.event_hub import RayEventHubClient
from cluster.interfaces import SERVICE_STOPS
from cluster.machine.ports import answers
from cluster.names import NAMESPACE
from cluster.runs.placement_groups import release_ownerless
from ftlab.settings import Settings, load_settings
from serve.deployment import build
from serve.metrics.process_metrics import forget_earlier_counts

APP_NAME = "ftlab"
JOB_METADATA = {"job_name": "FineTune Lab: API, coordinator, data worker and all runs"}
"""Shown for the one job that Ray's dashboard lists: this process."""
CHECK_INTERVAL_S = 2.0
CONNECT_TIMEOUT_S = 60.0
START_POLL_S = 0.05
DRAIN_MARGIN_S = 10.0
"""Seconds that ending the runs may take in addition to their grace time."""
GOODBYE_INTERVAL_S = 0.2
FAILURES_BEFORE_REDEPLOY = 15
"""Half a minute: Serve repairs itself within seconds, so this is a last resort."""

logger = logging.getLogger("ftlab.launcher")


def bring_up(settings: Settings) -> None:
    """Start the hub, the data worker, the coordinator and the API, or find those that run."""
    forget_earlier_counts(settings)
    start_event_hub()
    start_data_worker()
    start_coordinator()
    with ThreadPoolExecutor(1) as pool:
        # `serve.start` waits for the HTTP proxy; the replicas start meanwhile. Where the controller runs already, that
        # would save nothing, and Serve's functions are not made for two threads.
        is_first = not _has_serve_controller()
        starting = pool.submit(_start_serve, settings)
        while not starting.done() and not (is_first and _has_serve_controller()):
            time.sleep(START_POLL_S)
        if starting.done():
            starting.result()
        ray_serve.run(build({}), name=APP_NAME, route_prefix="/", blocking=False)
        starting.result()


def _start_serve(settings: Settings) -> None:
    http = {"host": settings.host, "port": settings.port, "keep_alive_timeout_s": 90}
    ray_serve.start(proxy_location="HeadOnly", http_options=http)


def _has_serve_controller() -> bool:
    with suppress(ValueError):
        ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        return True
    return False


def watch(settings: Settings, stop: threading.Event) -> int:
    failures = 0
    while not stop.wait(CHECK_INTERVAL_S):
        if not ray.is_initialized() or not _cluster_answers():
            logger.error("The Ray cluster is no longer available")
            return 1
        with suppress(ray.exceptions.RayError):
            release_ownerless()
        is_healthy = answers(f"{settings.own_url}/health", timeout_s=5.0)
        failures = 0 if is_healthy else failures + 1
        if failures >= FAILURES_BEFORE_REDEPLOY:
            logger.warning("The API does not respond; redeploying it")
            bring_up(settings)
            failures = 0
    return 0


def take_down(settings: Settings) -> None:
    """Shut the service down in order, as far as its components still answer."""
    coordinator = RayCoordinatorClient()
    if drain(coordinator, settings.stop_grace_s + DRAIN_MARGIN_S):
        logger.info("All runs have ended")
    else:
        logger.warning("Some runs did not end in time; they continue from their newest checkpoints at the next start")
    coordinator.end()
    # Serve waits for open requests, and the socket of a follower is one.
    threading.Thread(target=_send_followers_away, name="ftlab-goodbye", daemon=True).start()
    try:
        ray_serve.shutdown()
    except (ray.exceptions.RayError, RuntimeError, TimeoutError) as error:
        logger.warning("The API did not shut down cleanly: %s", error)
    else:
        logger.info("The API is down")


def _send_followers_away() -> None:
    """Keep notifying the replicas: a follower that one of them disconnects reconnects to another."""
    hub = RayEventHubClient(NAMESPACE)
    while True:
        hub.publish([SERVICE_STOPS])
        time.sleep(GOODBYE_INTERVAL_S)


def _cluster_answers() -> bool:
    try:
        return any(node["Alive"] for node in ray.nodes())
    except ray.exceptions.RayError:
        return False


def _connect(stop: threading.Event) -> bool:
    """Join the cluster that the supervisor is starting beside this process; `False` when it is to stop first."""
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while not stop.is_set():
        try:
            ray.init(namespace=NAMESPACE, log_to_driver=False, job_config=JobConfig(metadata=JOB_METADATA))
        except (ConnectionError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            stop.wait(0.5)
        else:
            return True
    return False


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_settings()
    if not _connect(stop):
        return 0
    # `ray.init` has put its own handler there, which ends the process at once.
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    bring_up(settings)
    code = watch(settings, stop)
    if stop.is_set():
        take_down(settings)
    return code


if __name__ == "__main__":
    sys.exit(main())

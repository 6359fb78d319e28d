"""Brings the service's actors up on the Ray cluster and keeps them there: `python -m serve.control`.

It ends with a non-zero code when the cluster is gone; the supervisor then starts both again.
"""

import logging
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

import ray
from ray import serve as ray_serve

from cluster.coordinator_actor import start_coordinator
from cluster.hub import start_hub
from cluster.names import NAMESPACE
from ftlab.settings import Settings, load_settings
from serve.deployment import build

APP_NAME = "ftlab"
CHECK_INTERVAL_S = 2.0
CONNECT_TIMEOUT_S = 60.0
FAILURES_BEFORE_REDEPLOY = 15
"""Half a minute: Serve repairs itself within seconds, so this is a last resort."""

logger = logging.getLogger("ftlab.control")


def bring_up(settings: Settings) -> None:
    """Start the hub, the coordinator and the API, or find those that run."""
    start_hub(NAMESPACE)
    start_coordinator()
    ray_serve.start(
        proxy_location="HeadOnly",
        http_options={"host": settings.host, "port": settings.port, "keep_alive_timeout_s": 90},
    )
    ray_serve.run(build({}), name=APP_NAME, route_prefix="/", blocking=False)


def watch(settings: Settings, stop: threading.Event) -> int:
    failures = 0
    while not stop.wait(CHECK_INTERVAL_S):
        if not ray.is_initialized() or not _cluster_answers():
            logger.error("The Ray cluster is gone")
            return 1
        failures = 0 if _is_healthy(settings) else failures + 1
        if failures >= FAILURES_BEFORE_REDEPLOY:
            logger.warning("The API does not answer; deploying it again")
            bring_up(settings)
            failures = 0
    return 0


def _cluster_answers() -> bool:
    try:
        return any(node["Alive"] for node in ray.nodes())
    except ray.exceptions.RayError:
        return False


def _is_healthy(settings: Settings) -> bool:
    try:
        with urllib.request.urlopen(f"http://{settings.host}:{settings.port}/health", timeout=5.0) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _connect() -> None:
    """Join the cluster that the supervisor is starting beside this process."""
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        try:
            ray.init(namespace=NAMESPACE, log_to_driver=False)
        except (ConnectionError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_settings()
    _connect()
    bring_up(settings)
    return watch(settings, stop)


if __name__ == "__main__":
    sys.exit(main())

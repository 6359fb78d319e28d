"""Waits until the service has a standby run that is ready: `python -m tests.bench.standby TIMEOUT_S`.

Runs as a process of its own inside the service's Ray environment and prints the time at which it saw one.
"""

import sys
import time

import ray

from cluster.coordinator.ray_backend import DriverLostError, RayCluster
from cluster.names import NAMESPACE, STANDBY_PREFIX
from ftlab.settings import load_settings
from tests.bench.processes import say_back

POLL_INTERVAL_S = 0.2


def main() -> int:
    deadline = time.monotonic() + float(sys.argv[1])
    ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level="error")
    cluster = RayCluster(load_settings())
    while time.monotonic() < deadline:
        if any(_is_ready(cluster, name) for name in cluster.drivers() if name.startswith(STANDBY_PREFIX)):
            say_back(str(time.time()))
            return 0
        time.sleep(POLL_INTERVAL_S)
    print("none in time", file=sys.stderr)
    return 1


def _is_ready(cluster: RayCluster, name: str) -> bool:
    try:
        return cluster.state(name) == "ready"
    except DriverLostError:
        return False


if __name__ == "__main__":
    sys.exit(main())

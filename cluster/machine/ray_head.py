"""The head of the Ray cluster: `python -m cluster.machine.ray_head start --head …`, as `ray start --head …`.

Ray's own command imports Ray Serve, which has commands of its own, and starts a server for clients outside of the
cluster; its dashboard starts a process for each of nine modules. All of them stay in memory. Nothing here uses Serve's
commands, that server, or the modules for Ray Data, for the states of Ray Train, and for Grafana.
"""

import os
from collections.abc import Sequence
from typing import Any

from ray._private import ray_constants, services
from ray._private.node import Node

from ftlab.lean_imports import hidden

with hidden("ray.serve"):
    from ray.scripts import scripts

DASHBOARD_MODULES = (
    "EventHead",
    "JobHead",
    "NodeHead",
    "PlatformEventsHead",
    "ReportHead",
    "ServeHead",
    "StateHead",
    "TaskEventsHead",
    "UsageStatsHead",
)
"""The dashboard skips those that Ray's settings switch off, and does not start with an unknown one."""
FOR_GRAFANA = "MetricsHead"
GRAFANA_VARIABLES = ("RAY_GRAFANA_HOST", "RAY_PROMETHEUS_HOST")
"""One of them is set where the dashboard shows charts of Grafana."""

_start_ray_process = services.start_ray_process


def _start_nothing(*_: Any) -> None:
    pass


def _start_with_fewer_modules(command: Sequence[str], process_type: str, *arguments: Any, **options: Any) -> Any:
    if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
        has_grafana = any(os.environ.get(name) for name in GRAFANA_VARIABLES)
        modules = (*DASHBOARD_MODULES, FOR_GRAFANA) if has_grafana else DASHBOARD_MODULES
        command = [*command, f"--modules-to-load={','.join(modules)}"]
    return _start_ray_process(command, process_type, *arguments, **options)


if __name__ == "__main__":
    Node.start_ray_client_server = _start_nothing  # with another name in a later Ray, the server starts
    services.start_ray_process = _start_with_fewer_modules  # with another name, the dashboard has all modules
    scripts.main()

"""The head of the Ray cluster: `python -m cluster.machine.ray_head start --head …`, as `ray start --head …`.

Ray's own command imports Ray Serve, which has commands of its own, and starts a server for clients outside of the
cluster; its dashboard has nine modules with a process each. All of them stay in memory. Nothing here uses Serve's
commands, that server, or the modules for Ray Data, for the states of Ray Train, and for Grafana; the other modules
share one process.

Ray's command waits for the dashboard, whose start takes seconds, before it starts the raylet, which everything else
waits for. Here the dashboard comes last, and the raylet does not wait for its agents either.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
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

DASHBOARD_SCRIPT = str(Path("dashboard", "dashboard.py"))
ONE_PROCESS = ("-m", "cluster.machine.ray_dashboard")

bindings: Any = import_module("ray._raylet")
"""Its type stub leaves out most of it."""

_start_ray_process = services.start_ray_process


def _start_nothing(*_: Any) -> None:
    pass


def _start_dashboard_last() -> None:
    start_dashboard, start_node = Node.start_api_server, Node.__init__
    put_off: list[Callable[[], None]] = []

    def start_later(node: Node, **options: Any) -> None:
        put_off.append(partial(start_dashboard, node, **options))

    def start_all(node: Node, *arguments: Any, **options: Any) -> None:
        start_node(node, *arguments, **options)
        for start in put_off:
            start()

    Node.start_api_server, Node.__init__ = start_later, start_all


def _start_raylet_before_agents() -> None:
    """Write the port of the raylet's agent, for which the raylet otherwise waits 15 s and dies."""
    start_raylet = Node.start_raylet

    def start(node: Node, *arguments: Any, **options: Any) -> None:
        port = node._ray_params.dashboard_agent_listen_port
        if port:
            name = bindings.DASHBOARD_AGENT_LISTEN_PORT_NAME
            bindings.persist_port(node._session_dir, node._node_id, name, port)
        start_raylet(node, *arguments, **options)

    Node.start_raylet = start


def _start_with_fewer_modules(command: Sequence[str], process_type: str, *arguments: Any, **options: Any) -> Any:
    if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
        has_grafana = any(os.environ.get(name) for name in GRAFANA_VARIABLES)
        modules = (*DASHBOARD_MODULES, FOR_GRAFANA) if has_grafana else DASHBOARD_MODULES
        command = [*_in_one_process(command), f"--modules-to-load={','.join(modules)}"]
    return _start_ray_process(command, process_type, *arguments, **options)


def _in_one_process(command: Sequence[str]) -> list[str]:
    """The command with our script instead of Ray's; with another name in a later Ray, each module has a process."""
    return [word for each in command for word in (ONE_PROCESS if each.endswith(DASHBOARD_SCRIPT) else (each,))]


if __name__ == "__main__":
    _start_dashboard_last()
    _start_raylet_before_agents()
    Node.start_ray_client_server = _start_nothing  # with another name in a later Ray, the server starts
    services.start_ray_process = _start_with_fewer_modules  # with another name, the dashboard has all modules
    scripts.main()

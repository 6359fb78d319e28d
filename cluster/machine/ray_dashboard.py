"""Ray's dashboard in one process: `python -m cluster.machine.ray_dashboard …`, as Ray's own `dashboard.py …`.

Ray runs each module of the dashboard in a process of its own, with a server process that forks them and one that cleans
up after them, and asks each module once a second whether it is healthy. Here the modules share the event loop of the
dashboard, and answer on the same sockets as in Ray. So a module that ends its process ends the dashboard, and with it
Ray, which the supervisor then starts again.
"""

import asyncio
import multiprocessing
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.dashboard.head import DashboardHead
from ray.dashboard.subprocesses.handle import SubprocessModuleHandle
from ray.dashboard.subprocesses.utils import get_http_session_to_module

SCRIPT = "ray.dashboard.dashboard"

_configure_http_server = DashboardHead._configure_http_server


def run_modules_here() -> None:
    """Have the dashboard of this process run its modules itself."""
    SubprocessModuleHandle.start_module = _start_module
    SubprocessModuleHandle.wait_for_module_ready = _connect
    DashboardHead._configure_http_server = _serve_when_modules_run


def _start_module(handle: Any) -> None:
    Path(handle.config.socket_dir).mkdir(parents=True, exist_ok=True)
    handle.process = multiprocessing.current_process()  # whose load the dashboard exports
    handle.starting = handle.loop.create_task(handle.module_cls(handle.config).run())


def _connect(handle: Any) -> None:
    """Prepare requests to a module, without its health check: it lives as long as the dashboard."""
    config = handle.config
    handle.http_client_session = get_http_session_to_module(
        handle.module_cls.__name__, config.socket_dir, config.session_name
    )


async def _serve_when_modules_run(head: Any, modules: Sequence[Any], handles: Sequence[Any]) -> None:
    """Wait for the modules, which Ray does before, and then open the dashboard's port."""
    await asyncio.gather(*(handle.starting for handle in handles))
    await _configure_http_server(head, modules, handles)


if __name__ == "__main__":
    run_modules_here()
    runpy.run_module(SCRIPT, run_name="__main__", alter_sys=True)

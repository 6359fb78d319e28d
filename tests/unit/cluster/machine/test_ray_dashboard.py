"""The modules of Ray's dashboard, in its own process."""

import subprocess
import sys
from pathlib import Path

DASHBOARD = """
import asyncio, os, sys
import psutil
from cluster.machine import ray_dashboard
ray_dashboard.run_modules_here()
from ray.dashboard.head import DashboardHead
from ray.dashboard.optional_deps import aiohttp
from ray.dashboard.subprocesses.handle import SubprocessModuleHandle
from ray.dashboard.subprocesses.module import SubprocessModule, SubprocessModuleConfig
from ray.dashboard.subprocesses.routes import SubprocessRouteTable as routes

class Module(SubprocessModule):
    gcs_client = aiogrpc_gcs_channel = http_session = None  # without a cluster

    @routes.get("/pid")
    async def pid(self, request):
        return aiohttp.web.Response(text=str(os.getpid()))

class Broken(Module):
    async def run(self):
        raise RuntimeError("it does not start")

async def serve(kind, folder):
    names = SubprocessModuleConfig.__dataclass_fields__
    config = SubprocessModuleConfig(**dict.fromkeys(names, "") | {"socket_dir": folder})
    handle = SubprocessModuleHandle(asyncio.get_running_loop(), kind, config)
    handle.start_module()
    handle.wait_for_module_ready()
    await DashboardHead._configure_http_server(None, [], [handle])
    async with handle.http_client_session as session, session.get("http://localhost/pid") as reply:
        assert int(await reply.text()) == os.getpid() == handle.process.pid
    assert psutil.Process().children() == [] and handle.health_check_task is None

async def configure(head, modules, handles):
    print("configured")

ray_dashboard._configure_http_server = configure
asyncio.run(serve(globals()[sys.argv[1]], sys.argv[2]))
"""
"""Starts a dashboard with one module, and asks it through the module's socket."""


def run(module: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", DASHBOARD, module, str(folder)], capture_output=True, text=True)


def test_a_module_answers_from_the_process_of_the_dashboard(tmp_path: Path):
    done = run("Module", tmp_path)
    assert (done.returncode, done.stdout) == (0, "configured\n"), done.stderr


def test_the_dashboard_does_not_open_its_port_without_a_module(tmp_path: Path):
    done = run("Broken", tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "it does not start" in done.stderr

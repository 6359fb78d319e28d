"""More machines for a service: nodes that join its Ray cluster, each as processes of their own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from cluster.machine.environment import ray_environment
from cluster.machine.ports import free_ports
from cluster.machine.supervisor import ray_temp_dir
from tests.chaos.ray_view import RayView
from tests.support.clocks import wait_for
from tests.support.lab import Lab

JOIN_TIMEOUT_S = 60.0
LEAVE_TIMEOUT_S = 60.0
OBJECT_STORE_BYTES = 128 * 1024**2


class Machine:
    """One node that has joined."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def lose(self) -> None:
        """kill -9 of the node's raylet alone: what it ran goes on by itself for a while, as behind a broken cable."""
        for process in psutil.Process(self._process.pid).children(recursive=True):
            if Path(process.exe()).name == "raylet":
                process.kill()

    def end(self) -> None:
        processes = psutil.Process(self._process.pid).children(recursive=True)
        for process in (*processes, self._process):
            process.kill()
        self._process.wait(30)


@contextmanager
def machine(lab: Lab, cpus: int, **env: str) -> Iterator[Machine]:
    """A node with so many cores; `env` are variables of its processes alone."""
    before = len(RayView(lab.settings).nodes())
    names = ("node-manager", "object-manager", "metrics-export", "dashboard-agent-listen", "dashboard-agent-grpc")
    ports = [f"--{name}-port={port}" for name, port in zip(names, free_ports(len(names)), strict=True)]
    with (lab.settings.home / "logs" / "machines.log").open("ab") as log:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("ray")),
                "start",
                "--block",
                f"--address=127.0.0.1:{lab.settings.ray_port}",
                "--node-ip-address=127.0.0.1",
                f"--num-cpus={cpus}",
                f"--object-store-memory={OBJECT_STORE_BYTES}",
                f"--temp-dir={ray_temp_dir(lab.settings)}",
                "--disable-usage-stats",
                *ports,
            ],
            env=ray_environment(lab.settings) | env,
            stdout=log,
            stderr=log,
        )
    joined = Machine(process)
    try:
        wait_for(lambda: len(RayView(lab.settings).nodes()) > before, JOIN_TIMEOUT_S, "the node to join")
        yield joined
    finally:
        joined.end()
        # Until Ray has seen it, the next test's job may be given to the machine that is gone.
        wait_for(lambda: len(RayView(lab.settings).nodes()) <= before, LEAVE_TIMEOUT_S, "the node to be given up")

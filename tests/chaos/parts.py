"""The processes of a running service by the part they play: found below its supervisor, or by a recorded id."""

import json
from collections.abc import Callable
from contextlib import suppress

import psutil

from ftlab.cli.service_file import state_file
from tests.chaos.ray_view import RayView
from tests.support.lab import Lab

Find = Callable[[Lab, str], list[psutil.Process]]
"""From a service and a job of it to the processes of one part."""


def worker(lab: Lab, job_id: str) -> list[psutil.Process]:
    """The training processes of the job's newest attempt."""
    return [psutil.Process(pid) for pid in lab.pids(job_id)]


def run_driver(lab: Lab, job_id: str) -> list[psutil.Process]:
    """The driver of the job's newest attempt."""
    return [psutil.Process(RayView(lab.settings).pid_of(lab.attempts(job_id)[-1].driver))]


def supervisor(lab: Lab, job_id: str) -> list[psutil.Process]:
    assert lab.process is not None
    return [psutil.Process(lab.process.pid)]


def everything(lab: Lab, job_id: str) -> list[psutil.Process]:
    """The supervisor first, so that nothing is started again."""
    return [*supervisor(lab, job_id), *lab.processes()]


def titled(*titles: str) -> Find:
    """Ray names the processes of its actors after their classes."""

    def find(lab: Lab, job_id: str) -> list[psutil.Process]:
        return [process for title in titles for process in lab.find(f"ray::{title}")]

    return find


def program(name: str) -> Find:
    """Processes that run the program `name`."""

    def find(lab: Lab, job_id: str) -> list[psutil.Process]:
        return [process for process in lab.processes() if _program_of(process) == name]

    return find


def part(name: str) -> Find:
    """A part that the supervisor started itself, with what that started."""

    def find(lab: Lab, job_id: str) -> list[psutil.Process]:
        document = json.loads(state_file(lab.settings).read_text("utf-8"))
        process = psutil.Process(document["parts"][name]["pid"])
        return [process, *process.children(recursive=True)]

    return find


def first(find: Find) -> Find:
    """One process of several."""

    def find_first(lab: Lab, job_id: str) -> list[psutil.Process]:
        return find(lab, job_id)[:1]

    return find_first


train_controllers = titled("TrainController")
"""Those of standby runs among them: nothing outside of Ray tells whose controller one is."""
coordinator = titled("CoordinatorActor")
hub = titled("EventHub")
replicas = titled("ServeReplica")
serve_controller = titled("ServeController")
http_front = program("haproxy")
front_manager = titled("HAProxyManager", "ProxyActor")
raylet = program("raylet")
gcs = program("gcs_server")
mlflow = part("MLflow")
recorder = part("Recorder")
notifier = part("Notifier")
control = part("API")


def kill(processes: list[psutil.Process]) -> None:
    """kill -9; none at all would be a fault that never struck."""
    assert processes
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def is_gone(process: psutil.Process) -> bool:
    """Ended, or a zombie that waits for its parent."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _program_of(process: psutil.Process) -> str:
    try:
        command = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""
    return command[0].rpartition("/")[2] if command else ""

"""The processes of a run, wherever they are: what they are doing, and ending them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.machine.processes import start_ticks

DUMP_TIMEOUT_S = 15.0
TASK_TIMEOUT_S = 60.0
"""Timeout of a dump or a kill on another machine, which starts a process there."""
MAX_DUMP_CHARS = 256 * 1024
"""Limit of one worker's stacks: a run with thousands of threads must not fill the disk."""


@dataclass(frozen=True)
class WorkerProcess:
    """One training worker. Its start time distinguishes it from a later process with the same id."""

    rank: int
    pid: int
    started_at_ticks: int
    node_id: str
    placement_group: str | None
    gpus: tuple[int, ...] = ()
    """Numbers of its GPUs on its node, as Ray gave them; a standby run gets its GPU later."""

    @classmethod
    def current(cls, rank: int) -> "WorkerProcess":
        """The calling process."""
        group = ray.util.get_current_placement_group()
        return cls(
            rank=rank,
            pid=os.getpid(),
            started_at_ticks=start_ticks(os.getpid()),
            node_id=ray.get_runtime_context().get_node_id(),
            placement_group=group.id.hex() if group is not None else None,
            gpus=tuple(int(gpu) for gpu in ray.get_gpu_ids() if str(gpu).isdigit()),
        )


def dump_stacks(workers: Sequence[WorkerProcess], head: str, file: Path) -> str:
    """Write the stacks of every worker to `file`, below the sentence `head`; return the text. Raises `OSError`."""
    parts = [head]
    for worker in workers:
        title = f"== Worker {worker.rank}: process {worker.pid} on node {worker.node_id} =="
        parts.append(f"{title}\n{_on_its_node(worker, stacks_of) or 'Its machine does not answer.'}")
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(parts) + "\n"
    file.write_text(text, "utf-8")
    return text


def end_workers(workers: Sequence[WorkerProcess]) -> None:
    """End every worker at once."""
    for worker in workers:
        _on_its_node(worker, kill)


def stacks_of(pid: int, ticks: int) -> str:
    """The state of the process, or why it cannot be read."""
    if not _is_same(pid, ticks):
        return "The process has ended."
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        times = process.cpu_times()
        state = f"State: {process.status()}, {times.user + times.system:.1f} s of CPU time.\n"
        return f"{state}{_py_spy(pid)}"[:MAX_DUMP_CHARS]
    return "The process has ended."


def kill(pid: int, ticks: int) -> str:
    """End the process, if it is still the one that started at `ticks`."""
    if _is_same(pid, ticks):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return "ended"


def _on_its_node(worker: WorkerProcess, task: Callable[[int, int], str]) -> str | None:
    if worker.node_id == ray.get_runtime_context().get_node_id():
        return task(worker.pid, worker.started_at_ticks)
    there = NodeAffinitySchedulingStrategy(worker.node_id, soft=False)
    remote = ray.remote(num_cpus=0, max_retries=0)(task).options(scheduling_strategy=there)
    try:
        return str(ray.get(remote.remote(worker.pid, worker.started_at_ticks), timeout=TASK_TIMEOUT_S))
    except ray.exceptions.RayError:
        return None


def _is_same(pid: int, ticks: int) -> bool:
    try:
        return start_ticks(pid) == ticks
    except (FileNotFoundError, ProcessLookupError):
        return False


def _py_spy(pid: int) -> str:
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        return "The program py-spy, which shows the stacks, is not installed."
    why = ""
    # A process that is stopped cannot be paused for the look; without a pause the stacks may be torn.
    for option in ((), ("--nonblocking",)):
        try:
            done = subprocess.run(
                [program, "dump", *option, "--pid", str(pid)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=DUMP_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            why = f"it did not end within {DUMP_TIMEOUT_S:.0f} s"
            continue
        if done.returncode == 0:
            return done.stdout
        why = done.stderr.strip()[:1000]
    return (
        f"py-spy could not read the stacks of the process: {why}\nThe system may forbid it: the sysctl "
        "kernel.yama.ptrace_scope"
        " must be 0 or 1, and a container needs the capability SYS_PTRACE."
    )

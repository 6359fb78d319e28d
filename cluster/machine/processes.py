"""Child processes of the supervisor: start, watch, and end them with everything they started."""

import contextlib
import logging
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ftlab.backoff import backoff_s

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 30.0
STABLE_AFTER_S = 60.0
WAIT_POLL_S = 0.05
TERMINATE_WAIT_S, KILL_WAIT_S = 3.0, 3.0
"""How long processes may take to end after SIGTERM and after SIGKILL."""


@dataclass
class Part:
    """One supervised process. A process that dies is restarted, after a longer pause each time it dies young."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log_file: Path
    niceness: int = 0
    """How much nicer it is than the supervisor, 0 to 19."""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    num_failures: int = 0
    """Number of consecutive early deaths."""
    descendants: dict[int, psutil.Process] = field(default_factory=dict)

    def start(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            # A session of its own: Ctrl+C in the terminal reaches the supervisor only, which ends the parts in order.
            self.process = subprocess.Popen(
                list(self.command),
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Only root may make a process less nice than the service was started.
        niceness = os.getpriority(os.PRIO_PROCESS, 0) + self.niceness
        os.setpriority(os.PRIO_PROCESS, self.process.pid, niceness)
        self.started_at = time.monotonic()

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def note_descendants(self, children: Mapping[int, Sequence[psutil.Process]] | None = None) -> None:
        """Remember what the part has started, so that nothing of it outlives the part.

        `children` is what `children_by_parent` returns, for a caller that asks for several parts at once.
        """
        if self.pid is None:
            return
        children = children_by_parent() if children is None else children
        parents = [self.pid]
        while parents:
            for child in children.get(parents.pop(), ()):
                self.descendants[child.pid] = child
                parents.append(child.pid)

    def restart_if_dead(self) -> bool:
        """Restart the process if it died and its pause has passed; returns whether it was started."""
        if self.is_alive():
            if time.monotonic() - self.started_at > STABLE_AFTER_S:
                self.num_failures = 0
            return False
        wait_s = backoff_s(self.num_failures + 1, first_s=FIRST_BACKOFF_S, longest_s=LONGEST_BACKOFF_S)
        if time.monotonic() - self.started_at < wait_s:
            return False
        code = self.process.returncode if self.process else None
        logger.warning("%s ended with code %s; starting it again", self.name, code)
        self.stop(grace_s=0.0)
        self.num_failures += 1
        self.start()
        return True

    def terminate(self) -> None:
        if self.process is not None and self.is_alive():
            self.process.terminate()

    def stop(self, grace_s: float, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """SIGTERM, then SIGKILL after the grace time, for the process and for all it started.

        The rest of the grace time is skipped once `is_urgent` returns true.
        """
        self.note_descendants()
        if self.process is not None and self.is_alive():
            self.process.terminate()
            deadline = time.monotonic() + grace_s
            while self.is_alive() and time.monotonic() < deadline and not is_urgent():
                time.sleep(WAIT_POLL_S)
            self.process.kill()
            self.process.wait()
        end_processes(list(self.descendants.values()), is_urgent)
        self.descendants.clear()


def children_by_parent() -> dict[int, list[psutil.Process]]:
    """All descendants of this process, by the id of their parent."""
    found: dict[int, list[psutil.Process]] = defaultdict(list)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found[process.ppid()].append(process)
    return found


def end_processes(processes: Sequence[psutil.Process], is_urgent: Callable[[], bool] = lambda: False) -> None:
    """End these processes; psutil compares start times, so a reused process id is never hit."""
    for stop, wait_s in ((psutil.Process.terminate, TERMINATE_WAIT_S), (psutil.Process.kill, KILL_WAIT_S)):
        if stop is psutil.Process.terminate and is_urgent():
            continue
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                stop(process)
        _, alive = psutil.wait_procs(processes, timeout=wait_s)
        if not alive:
            return


def start_ticks(pid: int) -> int:
    """Start time of a process in clock ticks since boot (field 22 of /proc/<pid>/stat): a reused id has another one."""
    return int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19])


def identity(pid: int) -> dict[str, int]:
    """What identifies a process in the service's state file."""
    return {"pid": pid, "started_at_ticks": start_ticks(pid)}

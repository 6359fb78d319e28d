"""Limits on the memory of one training worker, as on a machine that has less of it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

GROUPS = Path("/sys/fs/cgroup")


@contextmanager
def memory_group(name: str, limit_bytes: int) -> Iterator[Path | None]:
    """A control group whose processes the kernel kills when they need more; `None` where that is not permitted."""
    is_first_version = (GROUPS / "memory").is_dir()
    name = f"{name}-{os.getpid()}"
    folder = GROUPS / "memory" / name if is_first_version else GROUPS / name
    try:
        folder.mkdir()
        limit = folder / ("memory.limit_in_bytes" if is_first_version else "memory.max")
        limit.write_text(str(limit_bytes), "ascii")
    except OSError:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["rmdir", str(folder)], check=False)


def add(group: Path, process: psutil.Process) -> None:
    """Put a process into the group. What it has allocated until now does not count."""
    (group / "cgroup.procs").write_text(str(process.pid), "ascii")


def limit_growth(process: psutil.Process, num_bytes: int) -> None:
    """Let a process get that much more memory than it has now; an allocation beyond that fails."""
    used = psutil.Process(process.pid).memory_info().data
    process.rlimit(psutil.RLIMIT_DATA, (used + num_bytes, used + num_bytes))

"""Processes that the kernel killed for lack of memory, as it counts them on this machine."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
_OOM_KILL = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class MemoryKills:
    """How many processes the kernel killed for lack of memory."""

    in_group: int
    """Processes of the control group that this process is in, which the service and its runs share."""
    on_machine: int

    def since(self, before: "MemoryKills") -> "MemoryKills":
        """The kills between two counts."""
        return MemoryKills(self.in_group - before.in_group, self.on_machine - before.on_machine)

    @property
    def sentence(self) -> str:
        number, where = (self.in_group, "of the service") if self.in_group else (self.on_machine, "of the machine")
        what = "1 process" if number == 1 else f"{number} processes"
        return f"Shortly before the end, the kernel killed {what} {where} for lack of memory."


NO_KILLS = MemoryKills(0, 0)


def count_kills(root: Path = ROOT) -> MemoryKills:
    """Kills since the machine, or the control group, was started; 0 where the kernel does not say."""
    groups = [_read(file) for file in _group_files(root)]
    return MemoryKills(next((_count(text) for text in groups if text), 0), _count(_read(root / "proc/vmstat")))


def _group_files(root: Path) -> list[Path]:
    """Files with the count of this process's group, of either version of control groups."""
    files = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        below = path.lstrip("/")
        if not controllers:
            files.append(root / "sys/fs/cgroup" / below / "memory.events")
        elif "memory" in controllers.split(","):
            # In a container, the path is that of the host, and only the container's own group is there.
            files += [
                root / "sys/fs/cgroup/memory" / below / "memory.oom_control",
                root / "sys/fs/cgroup/memory/memory.oom_control",
            ]
    return files


def _count(text: str) -> int:
    found = _OOM_KILL.search(text)
    return int(found[1]) if found else 0


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""

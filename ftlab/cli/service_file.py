"""`<home>/run/service.json`: the state that the supervisor reports, and whether it is still true."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftlab.settings import Settings


@dataclass(frozen=True)
class ServiceState:
    """The service of one home folder."""

    pid: int
    state: str
    """`starting`, `ready` or `stopping`."""
    urls: dict[str, str] = field(default_factory=dict)
    started_at_ticks: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the process that wrote this is still running; its id may have been reused since."""
        found = _process(self.pid)
        if found is None:
            return False
        state, ticks = found
        is_same = self.started_at_ticks is None or ticks is None or ticks == self.started_at_ticks
        # A zombie has ended; its parent has not noticed yet.
        return is_same and state != "Z"


def state_file(settings: Settings) -> Path:
    return settings.home / "run" / "service.json"


def read_state(settings: Settings) -> ServiceState | None:
    """The latest state that the supervisor of this home wrote; `None` when there is none."""
    try:
        document: dict[str, Any] = json.loads(state_file(settings).read_text("utf-8"))
        return ServiceState(
            pid=int(document["pid"]),
            state=str(document["state"]),
            urls=dict(document.get("urls") or {}),
            started_at_ticks=document.get("started_at_ticks"),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def running_service(settings: Settings) -> ServiceState | None:
    """The service of this home, if it runs."""
    state = read_state(settings)
    return state if state is not None and state.is_alive else None


def _process(pid: int) -> tuple[str | None, int | None] | None:
    """State letter and start time in clock ticks (proc(5), fields 3 and 22), where there is a /proc."""
    if not Path("/proc/self/stat").exists():
        return (None, None) if _accepts_signals(pid) else None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])


def _accepts_signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""Cost of each process of a running service: `python -m tests.bench.idle_processes [--home HOME] [--seconds 70]`.

Prints the processor time (by the kernel's scheduler, in nanoseconds), how often the threads woke up, and the
proportional set size, over a time in which the service should be idle.
"""

import argparse
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from ftlab.cli.service_file import read_state
from ftlab.settings import load_settings
from tests.bench.row12_idle_cost import pss_bytes, title

WOKE_UP = "\nvoluntary_ctxt_switches:"


class Used(NamedTuple):
    """What the threads of a process have used since they started."""

    cpu_s: float
    num_wake_ups: int


def used_by(pid: int) -> Used:
    cpu_s, num_wake_ups = 0.0, 0
    with suppress(FileNotFoundError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                cpu_s += int((thread / "schedstat").read_text("ascii").split()[0]) / 1e9
                num_wake_ups += int((thread / "status").read_text("utf-8").partition(WOKE_UP)[2].split()[0])
    return Used(cpu_s, num_wake_ups)


def main(home: str | None, seconds: float) -> None:
    settings = load_settings()
    state = read_state(settings if home is None else settings.model_copy(update={"home": Path(home)}))
    if state is None or not state.is_alive:
        raise SystemExit("No service runs with this home; name its folder with --home.")
    supervisor = psutil.Process(state.pid)
    processes = [supervisor, *supervisor.children(recursive=True)]
    before, started = {each.pid: used_by(each.pid) for each in processes}, time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - started
    rows = []
    for each in processes:
        now, then = used_by(each.pid), before[each.pid]
        # A process that has ended reads as zero.
        cpu_s, num_wake_ups = max(0.0, now.cpu_s - then.cpu_s), max(0, now.num_wake_ups - then.num_wake_ups)
        rows.append((100 * cpu_s / took_s, num_wake_ups / took_s, pss_bytes(each.pid) / 2**20, title(each)))
    total = *(sum(column) for column in zip(*(row[:3] for row in rows), strict=True)), f"{len(rows)} processes"
    for percent, wake_ups, pss_mib, name in [*sorted(rows, reverse=True), total]:
        print(f"{percent:6.2f} % {wake_ups:7.1f}/s {pss_mib:6.0f} MiB  {name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", help="home folder of the service; by default that of the settings")
    parser.add_argument("--seconds", type=float, default=70.0)
    options = parser.parse_args()
    main(options.home, options.seconds)

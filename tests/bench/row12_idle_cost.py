"""Row 12: processor time and memory of the idle service / of a bare Ray head with its dashboard.

Measured before the first job, after one and after many, with the standby run ready, and once that has ended, each over
a quiet minute. Memory is the proportional set size, which counts what several processes share once. Progress lines name
the processes that cost most.
"""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.machine.ports import free_ports
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Goal, Measurement, say
from tests.bench.processes import environment
from tests.bench.service import Service, own_service
from tests.bench.workload import TINY, Workload, prepare

ROW = 12
TITLE = "idle cost"
NEEDS_SERVICE = False

WATCHED_S = 60.0
QUICK_WATCHED_S = 20.0
NUM_JOBS = 200
QUICK_NUM_JOBS = 3
START_TIMEOUT_S = 60.0
STANDBY_IDLE_S = 240
"""Longer than anything here waits while the standby run is measured."""
NUM_SHOWN = 20
IDLE_GOALS = Goal(10.0, "ours"), Goal(2000.0, "ours")
GROWTH_GOAL = Goal(1.05)


@dataclass(frozen=True)
class Cost:
    cores_percent: float
    pss_mb: float
    num_processes: int


def run(bench: Bench) -> list[Measurement]:
    watched_s = QUICK_WATCHED_S if bench.quick else WATCHED_S
    num_jobs = QUICK_NUM_JOBS if bench.quick else NUM_JOBS
    with bench.without_service():
        with _bare_head() as head:
            time.sleep(watched_s / 2)
            bare = _cost("bare Ray head", lambda: [head, *head.children(recursive=True)], watched_s)
        with own_service(ingress=bench.ingress, standby_idle_s=STANDBY_IDLE_S) as service:
            service.start()
            fresh = _settled(service, "before the first job", watched_s)
            work = prepare(service, bench.folder, TINY)
            _finish_jobs(service, work, range(1))
            once = _used(service, "after 1 job", watched_s)
            _finish_jobs(service, work, range(1, num_jobs))
            often = _used(service, f"after {num_jobs} jobs", watched_s)
    return [
        *_measurements("before the first job", fresh, bare, IDLE_GOALS),
        *(line for when, cost in (once | often).items() for line in _measurements(when, cost, bare, IDLE_GOALS)),
        *(
            line
            for (when, after), before in zip(often.items(), once.values(), strict=True)
            for line in _measurements(f"{when} / after 1", after, before, (GROWTH_GOAL, GROWTH_GOAL))
        ),
    ]


def _finish_jobs(service: Service, work: Workload, numbers: range) -> None:
    for number in numbers:
        job = service.client.jobs.create(work.job(f"idle {number}", max_steps=2))
        service.client.jobs.wait(job.id)


def _used(service: Service, when: str, watched_s: float) -> dict[str, Cost]:
    """With the standby run, then without it."""
    with_standby = _settled(service, when, watched_s)
    time.sleep(STANDBY_IDLE_S)
    without = f"{when}, without the standby run"
    return {when: with_standby, without: _cost(without, service.processes, watched_s)}


def _measurements(when: str, ours: Cost, baseline: Cost, goals: tuple[Goal, Goal]) -> list[Measurement]:
    for_time, for_memory = goals
    return [
        Measurement(
            ROW,
            f"processor time, {when}",
            "% of a core",
            [ours.cores_percent],
            [baseline.cores_percent],
            target=[for_time],
            note=f"{ours.num_processes} processes, baseline {baseline.num_processes}",
        ),
        Measurement(
            ROW,
            f"proportional set size, {when}",
            "MB",
            [ours.pss_mb],
            [baseline.pss_mb],
            target=[for_memory],
        ),
    ]


def _settled(service: Service, when: str, watched_s: float) -> Cost:
    service.wait_for_standby()
    service.settle()
    time.sleep(watched_s / 2)
    return _cost(when, service.processes, watched_s)


def _cost(when: str, processes: Callable[[], list[psutil.Process]], watched_s: float) -> Cost:
    before, started = _used_s(processes()), time.monotonic()
    time.sleep(watched_s)
    there = processes()
    after, took_s = _used_s(there), time.monotonic() - started
    used = {pid: seconds - before.get(pid, 0.0) for pid, seconds in after.items()}
    names = {each.pid: title(each) for each in there}
    pss_mb = {pid: pss_bytes(pid) / 1e6 for pid in used}
    say(f"{when}:")
    for pid, seconds in Counter(used).most_common(NUM_SHOWN):
        say(f"  {100 * seconds / took_s:5.2f} % {pss_mb[pid]:7.0f} MB  {names[pid]}")
    return Cost(100 * sum(used.values()) / took_s, sum(pss_mb.values()), len(there))


def _used_s(processes: Sequence[psutil.Process]) -> dict[int, float]:
    used = {}
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            used[each.pid] = times.user + times.system
    return used


def title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        words = process.cmdline()
        return " ".join(Path(word).name if word.startswith("/") else word for word in words)[:100]
    return "ended"


def pss_bytes(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


@contextmanager
def _bare_head() -> Iterator[psutil.Process]:
    """`ray start --head` as its manual has it, with nothing on it."""
    port, dashboard_port, client_port = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="ftlab-bench-") as folder:
        command = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--head",
            "--block",
            "--node-ip-address=127.0.0.1",
            f"--port={port}",
            f"--dashboard-port={dashboard_port}",
            "--min-worker-port=0",
            "--max-worker-port=0",
            f"--ray-client-server-port={client_port}",
            f"--temp-dir={folder}",
            "--disable-usage-stats",
        ]
        with (Path(folder) / "head.log").open("wb") as log:
            env = {name: value for name, value in environment().items() if not name.startswith("RAY_")}
            head = psutil.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        started: list[psutil.Process] = [head]
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not any("dashboard.py" in title(each) for each in head.children(recursive=True)):
                if head.poll() is not None or time.monotonic() > deadline:
                    raise BenchError("A bare Ray head does not start.")
                time.sleep(0.5)
            yield head
        finally:
            started += head.children(recursive=True)
            for process in started:
                with suppress(psutil.NoSuchProcess):
                    process.terminate()
            _, alive = psutil.wait_procs(started, timeout=10)
            for process in alive:
                process.kill()
            psutil.wait_procs(alive, timeout=10)

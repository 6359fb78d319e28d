"""The terminal monitor: from a key to the screen, with many jobs and live metrics.

    python -m tests.bench.monitor_latency [--jobs 500] [--metrics-per-s 10] [--keys 200]

The monitor runs in a pseudo-terminal of 120x40, with jobs and metrics that it is given in place of a service's. A key
moves the cursor of the table; its time ends when the line with the cursor has arrived at the terminal. The goal is
50 ms for 99 of 100 keys.
"""

import argparse
import asyncio
import os
import pty
import re
import select
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from ftlab.schemas import Event, Job, MetricPoint
from ftlab.status import JobStatus
from ftlab.tui.detail_feed import METRIC_POINTS
from ftlab.tui.palette import DARK
from ftlab.tui.snapshot import Link, LinkState, Snapshot, Trend, in_table_order

GOAL_MS = 50.0
METRICS = ("loss", "eval_loss", "learning_rate", "grad_norm", "tokens_per_s", "step_time_s")
START = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT_S = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description="From a key to the screen of the terminal monitor.")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--metrics-per-s", type=float, default=10.0)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        asyncio.run(show(given.jobs, given.metrics_per_s))
        return
    times_ms = sorted(measure(given.jobs, given.metrics_per_s, given.keys))
    p99 = times_ms[min(len(times_ms) - 1, round(0.99 * len(times_ms)))]
    print(f"{given.jobs} jobs, {given.metrics_per_s:g} metric events/s, {len(times_ms)} keys")
    print(
        f"median {statistics.median(times_ms):.1f} ms, p99 {p99:.1f} ms (goal {GOAL_MS:g}), max {times_ms[-1]:.1f} ms"
    )


def measure(jobs: int, metrics_per_s: float, keys: int) -> list[float]:
    """Milliseconds of each key."""
    terminal, end = pty.openpty()
    os.set_blocking(terminal, False)
    inside = ["--inside", "--jobs", str(jobs), "--metrics-per-s", str(metrics_per_s)]
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "tests.bench.monitor_latency", *inside]
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=env, start_new_session=True)
    try:
        wait_for_cursor(terminal, name(0))
        drain(terminal, 2.0)
        found = []
        for place in range(keys):
            drain(terminal, 0.05)
            begin = time.perf_counter()
            os.write(terminal, b"j")
            wait_for_cursor(terminal, name(place + 1))
            found.append(1000 * (time.perf_counter() - begin))
        return found
    finally:
        process.kill()
        process.wait()


def name(place: int) -> str:
    return f"run-{place:04}"


def wait_for_cursor(terminal: int, wanted: str) -> None:
    """Read until the name was drawn on the background of the cursor."""
    red, green, blue = (int(DARK.cursor[place : place + 2], 16) for place in (1, 3, 5))
    moved = r"(?:(?!\x1b\[\d+;\d+H|\n).)"
    row = re.compile(f"48;2;{red};{green};{blue}m{moved}{{0,200}}{wanted}".encode(), re.DOTALL)
    received, deadline = b"", time.monotonic() + TIMEOUT_S
    while not row.search(received):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"the cursor never came to {wanted}: {received[-2000:]!r}")
        if select.select([terminal], [], [], left_s)[0]:
            received += os.read(terminal, 1 << 20)


def drain(terminal: int, duration_s: float) -> None:
    deadline = time.monotonic() + duration_s
    while (left_s := deadline - time.monotonic()) > 0:
        if select.select([terminal], [], [], left_s)[0]:
            os.read(terminal, 1 << 20)


# Inside the terminal


async def show(num_jobs: int, metrics_per_s: float) -> None:
    """Run the monitor with synthetic jobs, all of which run and change every second."""
    from ftlab.tui.app import Monitor, run

    client: Any = Source(num_jobs, metrics_per_s)
    await run(Monitor(client, client, feed=client))


class Source:
    """Jobs and metrics in place of a client and a feed."""

    base_url = "http://127.0.0.1:8000"

    def __init__(self, num_jobs: int, metrics_per_s: float) -> None:
        self.jobs = self
        self._records = [_job(place) for place in range(num_jobs)]
        self._pause_s = 1 / metrics_per_s
        self._points = [
            MetricPoint(name=metric, step=step, value=2 + 1 / step + step % 7 / 50, at=START, attempt=1)
            for metric in METRICS
            for step in range(1, METRIC_POINTS + 1)
        ]

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        step = 0
        while True:
            step += 1
            jobs = [job.model_copy(update={"step": job.step + step}) for job in self._records]
            trends = {job.id: Trend((4.0, 3.0, 2.5, 2.2 - step % 9 / 10), 1e-4, 5000.0 + step) for job in jobs}
            yield Snapshot(Link(self.base_url, LinkState.LIVE, datetime.now(UTC)), in_table_order(jobs), trends)
            await asyncio.sleep(1.0)

    def hurry(self) -> None:
        """Nothing is requested."""

    async def get(self, job: str) -> Job:
        return self._records[int(job.removeprefix("job-"))]

    async def metrics(self, job: str, max_points: int) -> list[MetricPoint]:
        return self._points

    async def logs(self, job: str, tail: int) -> list[Any]:
        return []

    async def checkpoints(self, job: str) -> list[Any]:
        return []

    async def attempts(self, job: str) -> list[Any]:
        return []

    async def events(self, job: str, kinds: object) -> AsyncIterator[Event]:
        nothing: tuple[Event, ...] = ()
        for event in nothing:
            yield event

    async def follow(self, job: str, after: int) -> AsyncIterator[Event]:
        step = METRIC_POINTS
        while True:
            await asyncio.sleep(self._pause_s)
            step += 1
            values = dict.fromkeys(METRICS, 2 + step % 7 / 50)
            data = {"step": step, "total_steps": 9000, "values": values}
            document = {"job_id": job, "seq": step, "attempt": 1, "at": START, "kind": "metrics", "data": data}
            yield Event.model_validate(document)


def _job(place: int) -> Job:
    config = {"model": "acme/tiny", "dataset": "ds-1", "method": {"type": "sft"}}
    return Job(
        id=f"job-{place:04}",
        owner="local",
        name=name(place),
        status=JobStatus.RUNNING,
        message="The job is training.",
        config=config,
        attempt=1,
        step=place,
        total_steps=9000,
        loss=2.0,
        eta_s=600.0,
        run_time_s=60.0,
        created_at=START,
        started_at=START,
    )


if __name__ == "__main__":
    main()

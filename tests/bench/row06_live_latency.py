"""Row 6: training callback -> N WebSocket clients, p99 / a raw `websockets` broadcast to as many.

A real job trains on one core throughout, also while the baseline is measured, and each of its steps is an event. The
time of an event is taken in the training callback, so the whole way counts.
"""

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cluster.environment import ray_environment
from ftlab.life import JobStatus
from ftlab.schemas import EventKind
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Goal, Measurement, interleave, percentile, say
from tests.bench.processes import answer, process, server, tell
from tests.bench.runs import wait_for_status
from tests.bench.service import Service, free_ports
from tests.bench.workload import MID, SMALL, ModelSize, Workload, prepare

ROW = 6
TITLE = "live metric latency"
CLIENTS_PER_PROCESS = 500
SETTLE_S = 1.0
NUM_INTERVALS = 20
"""Steps that the event interval of the baseline is taken from."""


@dataclass(frozen=True)
class Load:
    """How many clients follow which job, and for how long they are watched."""

    num_clients: int
    model: ModelSize
    window_s: float
    target: tuple[Goal, ...]


LOADS = (
    Load(1, SMALL, 20.0, (Goal(1.1),)),
    Load(100, SMALL, 15.0, (Goal(1.1), Goal(50.0, "ours"))),
    Load(1000, MID, 20.0, (Goal(1.1),)),
)
"""A thousand clients get the slower steps of the larger model: on a small machine the clients alone fill a core."""


def run(bench: Bench) -> list[Measurement]:
    measured: list[Measurement] = []
    for load in LOADS:
        work = prepare(bench.service, bench.folder, load.model)
        with _training(bench.service, work) as job_id:
            measured.append(_measure(bench, job_id, load))
            if load.num_clients == 1:
                measured.append(_hub_share(bench, job_id, load))
    return measured


def _measure(bench: Bench, job_id: str, load: Load) -> Measurement:
    interval_s = _interval_s(bench.service, job_id)
    say(f"row 6: {load.num_clients} clients, an event each {interval_s:.2f} s")
    window_s = load.window_s / 2 if bench.quick else load.window_s
    [port] = free_ports(1)
    event = bench.service.client.jobs.events(job_id, after=bench.service.client.jobs.get(job_id).last_seq - 1)
    arguments = (str(port), str(interval_s), next(iter(event)).model_dump_json())

    def ours() -> float:
        after = bench.service.client.jobs.get(job_id).last_seq
        url = f"ws://127.0.0.1:{bench.service.settings.port}/ws/training/{job_id}?after={after}"
        return _watch(url, load.num_clients, window_s, "ack")

    def raw() -> float:
        with server("tests.bench.raw_broadcast", *arguments, port=port):
            return _watch(f"ws://127.0.0.1:{port}/", load.num_clients, window_s, "silent")

    clients_ms, raw_ms = interleave(bench.pairs, ours, raw)
    return Measurement(
        ROW,
        f"callback -> {load.num_clients} clients, p99",
        "ms",
        clients_ms,
        raw_ms,
        floor=[Goal(1000.0, "ours")],
        target=load.target,
        note=f"an event each {interval_s:.2f} s",
    )


def _watch(url: str, num_clients: int, window_s: float, mode: str) -> float:
    """Open the sockets, let them settle, and return the p99 of what then arrives."""
    counts = [min(CLIENTS_PER_PROCESS, num_clients - start) for start in range(0, num_clients, CLIENTS_PER_PROCESS)]
    with ExitStack() as stack:
        clients = [
            stack.enter_context(process("tests.bench.socket_clients", url, str(count), mode)) for count in counts
        ]
        for client in clients:
            if answer(client) != "open":
                raise BenchError("The clients could not open their sockets.")
        time.sleep(SETTLE_S)
        for word, pause_s in (("begin", window_s), ("end", 0.0)):
            for client in clients:
                tell(client, word)
            time.sleep(pause_s)
        reports: list[dict[str, Any]] = [json.loads(answer(client)) for client in clients]
    if any(report["num_missing"] or report["num_gaps"] for report in reports):
        raise BenchError(f"Events were lost on the way to {num_clients} clients of {url}.")
    latencies = [value for report in reports for value in report["latencies_ms"]]
    if not latencies:
        raise BenchError(f"No metrics event came in {window_s:.0f} s.")
    return percentile(latencies, 0.99)


def _hub_share(bench: Bench, job_id: str, load: Load) -> Measurement:
    """How much of the way lies before the hub: the buffer of the callback, the driver, the database."""
    env = ray_environment(bench.service.settings)
    medians = []
    for _ in range(bench.pairs):
        with process("tests.bench.hub_listener", job_id, str(load.window_s / 2), env=env) as listener:
            medians.append(statistics.median(json.loads(answer(listener))))
    return Measurement(ROW, "callback -> hub listener, median", "ms", medians)


@contextmanager
def _training(service: Service, work: Workload) -> Iterator[str]:
    """A job that trains on one core until the end of the block."""
    config = work.job("is watched", max_steps=10_000_000)
    config = config.model_copy(update={"resources": config.resources.model_copy(update={"cpus_per_worker": 1})})
    job_id = service.client.jobs.create(config).id
    try:
        wait_for_status(service, job_id, JobStatus.RUNNING)
        service.wait_for_standby()  # its imports must not meet the measurement
        yield job_id
    finally:
        service.client.jobs.cancel(job_id)
        service.client.jobs.wait(job_id, raise_on_failure=False)


def _interval_s(service: Service, job_id: str) -> float:
    """Median time between two metrics events of the job."""
    while True:
        last_seq = service.client.jobs.get(job_id).last_seq
        events = service.client.jobs.events(job_id, after=max(0, last_seq - 2 * NUM_INTERVALS))
        times = [event.at.timestamp() for event in events if event.kind is EventKind.METRICS]
        if len(times) > NUM_INTERVALS:
            return statistics.median(after - before for before, after in pairwise(times))
        time.sleep(1.0)

"""Row 6: training callback -> N WebSocket clients, p99 / a raw `websockets` broadcast to as many at the same rate.

The worker of a running job is halted and a stand-in emits metrics in its place, so that no training takes the cores
that are measured. The job holds all cores, so no standby run starts beside it. The time of an event is taken where the
training callback takes it: the whole way counts.
"""

import json
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from cluster.machine.environment import ray_environment
from cluster.machine.ports import free_ports
from ftlab.schemas import Event, EventKind
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Goal, Measurement, interleave, percentile, say
from tests.bench.processes import answer, process, server, tell
from tests.bench.runs import halted_job
from tests.bench.service import Service
from tests.bench.workload import TINY, Workload, prepare
from tracking.store.records import AttemptRecord

ROW = 6
TITLE = "live metric latency"
CLIENTS_PER_PROCESS = 500
SETTLE_S = 1.0
FIRST_EVENT_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Load:
    """How many clients there are, how often an event comes, and how long they are watched."""

    num_clients: int
    interval_s: float
    window_s: float
    target: tuple[Goal, ...] = (Goal(1.1),)


LOADS = (Load(1, 0.1, 20.0), Load(100, 0.1, 10.0, (Goal(1.1), Goal(50.0, "ours"))), Load(1000, 1.0, 20.0))
"""A thousand clients get fewer events: on a small machine the clients alone would fill its cores."""


def run(bench: Bench) -> list[Measurement]:
    work = prepare(bench.service, bench.folder, TINY)
    return [measurement for load in LOADS for measurement in _measure_with_job(bench, work, load)]


def _measure_with_job(bench: Bench, work: Workload, load: Load) -> list[Measurement]:
    """Measure with a job of its own: Ray Train ends a worker that is halted for too long."""
    say(f"row 6: {load.num_clients} clients")
    with halted_job(bench.service, work) as attempt:
        env = ray_environment(bench.service.settings)
        with process("tests.bench.metric_source", attempt.driver, env=env) as source:
            sample = _first_event(bench.service, attempt)
            tell(source, str(load.interval_s))
            measured = _measure(bench, attempt.job_id, load, sample)
            if load.num_clients == 1:
                measured.append(_way_to_hub(bench, attempt.job_id, load))
    return measured


def _measure(bench: Bench, job_id: str, load: Load, sample: Event) -> list[Measurement]:
    window_s = load.window_s / 2 if bench.quick else load.window_s
    watch = partial(_watch, num_clients=load.num_clients, window_s=window_s)
    [port] = free_ports(1)

    def ours() -> list[float]:
        after = bench.service.client.jobs.get(job_id).last_seq
        return watch(f"ws://127.0.0.1:{bench.service.settings.port}/ws/training/{job_id}?after={after}", mode="ack")

    def raw() -> list[float]:
        arguments = (str(port), str(load.interval_s), sample.model_dump_json())
        with server("tests.bench.raw_broadcast", *arguments, port=port):
            return watch(f"ws://127.0.0.1:{port}/", mode="silent")

    latencies = interleave(bench.pairs, ours, raw)
    ours50, raw50 = ([percentile(window, 0.5) for window in side] for side in latencies)
    ours99, raw99 = ([percentile(window, 0.99) for window in side] for side in latencies)
    floor = [Goal(1000.0, "ours")]
    note = f"an event each {load.interval_s} s"
    metric = f"callback -> {load.num_clients} clients"
    return [
        Measurement(ROW, f"{metric}, p99", "ms", ours99, raw99, floor=floor, target=load.target, note=note),
        Measurement(ROW, f"{metric}, median", "ms", ours50, raw50),
    ]


def _watch(url: str, *, num_clients: int, window_s: float, mode: str) -> list[float]:
    """Open the sockets, let them settle, and return the latencies of what then arrives, in milliseconds."""
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
    return latencies


def _way_to_hub(bench: Bench, job_id: str, load: Load) -> Measurement:
    """How much of the way lies before the hub: the buffer of the callback, the driver, the database."""
    env = ray_environment(bench.service.settings)
    medians = []
    for _ in range(bench.pairs):
        with process("tests.bench.hub_listener", job_id, str(load.window_s / 2), env=env) as listener:
            medians.append(statistics.median(json.loads(answer(listener))))
    return Measurement(ROW, "callback -> hub listener, median", "ms", medians)


def _first_event(service: Service, attempt: AttemptRecord) -> Event:
    """Wait for an event of the stand-in and return it."""
    deadline = time.monotonic() + FIRST_EVENT_TIMEOUT_S
    while time.monotonic() < deadline:
        for event in service.client.jobs.events(attempt.job_id):
            if event.kind is EventKind.METRICS:
                return event
        time.sleep(0.5)
    raise BenchError("The stand-in's events do not arrive.")

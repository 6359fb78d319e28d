"""What a metrics event costs in processor time, without Ray: `python -m tests.bench.event_costs [--clients 100]`.

Two parts of its way: the run driver writes it to the database, and an API replica sends it to its clients, which
acknowledge as the SDK does. Processor time depends far less on what else the machine does than the latencies of row 6.
"""

import argparse
import asyncio
import gc
import json
import tempfile
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from sqlalchemy import event
from sqlalchemy.engine import Engine

from cluster.events.documents import to_documents
from cluster.events.event_hub import EventHub
from cluster.fakes import FakeEventHub
from cluster.runs.attempt_log import AttemptLog
from ftlab.schemas import EventKind
from ftlab.settings import Settings
from ftlab.status import JobStatus
from serve.app import create_app
from serve.streams.subscriptions import EventFeed
from tests.bench.harness import BenchError
from tests.bench.metric_source import metrics_of
from tests.bench.processes import answer, process, tell
from tests.bench.stock import open_stock
from tests.support.service_fakes import fake_services
from tracking.store import Store
from tracking.store.records import EventRecord, JobRef
from train.plan import ModelLoaded, StopKind
from train.reporting.event_sender import Emitted

WARM_UP_EVENTS = 20
PAUSE_S = 0.05
SETTLE_S = 1.0
"""In which the last streams begin: these events are only live, so that nobody could read one that was missed."""


def main(num_clients: int, num_events: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        stock = open_stock(Path(folder) / "ftlab.db", num_jobs=1, num_queued=1)
        ref = _claim(stock.store, stock.ids[0])
        write_ms, num_statements = _cost_of_writing(stock.store, ref, num_events)
        stock.store.close()
        print(f"writing: {write_ms:.2f} ms of processor time an event, {num_statements:.1f} statements")
        for count in sorted({1, num_clients}):
            sent_ms = uvloop.run(_cost_of_sending(settings, ref, count, num_events))
            print(f"sending to {count}: {sent_ms:.2f} ms an event, {1000 * sent_ms / count:.0f} us a client")


def _claim(store: Store, job_id: str) -> JobRef:
    now = datetime.now(UTC)
    with store.begin() as tx:
        epoch = tx.leases.acquire("coordinator", "benchmark", ttl_s=3600, now=now).epoch
        attempt = tx.jobs.claim(
            job_id, driver="benchmark", cpus=1, gpus=0, resumed_from_step=None, epoch=epoch, now=now
        )
    return JobRef(job_id, attempt.number)


def _cost_of_writing(store: Store, ref: JobRef, num_events: int) -> tuple[float, float]:
    """Milliseconds and statements of an event that the run driver gets alone."""
    hub, statements = FakeEventHub(), list[str]()
    log = AttemptLog(store, hub, ref)
    log.move(JobStatus.INITIALIZING)
    log.record([Emitted(1, datetime.now(UTC), ModelLoaded("none"))])

    def emit(first: int, count: int) -> None:
        for step in range(first, first + count):
            num_before = len(hub.published)
            log.record([Emitted(step + 1, datetime.now(UTC), metrics_of(step, 0.1))])
            while len(hub.published) == num_before:
                time.sleep(0.0005)

    emit(1, WARM_UP_EVENTS)
    event.listen(Engine, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement))
    began_s = time.process_time()
    emit(WARM_UP_EVENTS + 1, num_events)
    spent_s = time.process_time() - began_s
    log.request_stop(StopKind.FENCED)
    return 1000 * spent_s / num_events, len(statements) / num_events


async def _cost_of_sending(settings: Settings, ref: JobRef, num_clients: int, num_events: int) -> float:
    """Milliseconds of processor time that a replica takes to send an event to `num_clients` clients."""
    hub = EventHub()
    store = Store.open(settings.store_url, is_waited_for=True)
    feed = EventFeed(hub)
    services = fake_services(settings, store, hub, feed=feed)
    server = uvicorn.Server(uvicorn.Config(create_app(services), host="127.0.0.1", port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with store.read() as tx:
        last_seq = tx.jobs.get(ref.id).last_seq
    url = f"ws://127.0.0.1:{port}/ws/training/{ref.id}?after={last_seq}"
    with process("tests.bench.socket_clients", url, str(num_clients), "ack") as clients:
        await asyncio.to_thread(answer, clients)
        await asyncio.sleep(SETTLE_S)
        tell(clients, "begin")
        await _publish(hub, ref, last_seq + 1, WARM_UP_EVENTS)
        gc.collect()
        idle_s = await _spent(asyncio.sleep(num_events * PAUSE_S))
        spent_s = await _spent(_publish(hub, ref, last_seq + 1 + WARM_UP_EVENTS, num_events))
        tell(clients, "end")
        report = json.loads(await asyncio.to_thread(answer, clients))
    server.should_exit = True
    await serving
    store.close()
    if report["num_missing"] or report["num_gaps"] or report["num_events"] < num_events:
        raise BenchError(f"Events were lost on the way to {num_clients} clients: {report}")
    return 1000 * (spent_s - idle_s) / num_events


async def _spent(work: Coroutine[Any, Any, None]) -> float:
    """Seconds of processor time of this process until `work` has ended."""
    began_s = time.process_time()
    await work
    return time.process_time() - began_s


async def _publish(hub: EventHub, ref: JobRef, first_seq: int, count: int) -> None:
    for seq in range(first_seq, first_seq + count):
        data = metrics_of(seq, 0.1).to_data()
        record = EventRecord(ref.id, seq, ref.attempt, datetime.now(UTC), EventKind.METRICS, data, "local", seq)
        hub.publish(to_documents([record]))
        await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=100, help="clients of the replica")
    parser.add_argument("--events", type=int, default=200, help="events that are counted")
    options = parser.parse_args()
    main(options.clients, options.events)

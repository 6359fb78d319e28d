"""Row 3: a submit that is accepted and durable / the same request to a bare FastAPI app with one commit.

Jobs are submitted behind a running one, so that none of them starts; that one is halted and takes no core.
"""

import http.client
import json
import statistics
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from cluster.machine.ports import free_ports
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Goal, Measurement, interleave, percentile
from tests.bench.processes import server
from tests.bench.runs import halted_job
from tests.bench.service import Service
from tests.bench.workload import TINY, prepare

ROW = 3
TITLE = "submit latency"
SUBMIT_PATH = "/api/training/jobs"

Request = tuple[str, str, bytes | None, dict[str, str]]


@dataclass(frozen=True)
class Door:
    """An address that takes requests; `makes_jobs` where they end up in the service's queue."""

    service: Service
    port: int
    makes_jobs: bool = True

    def submit(self, count: int, body: dict[str, Any]) -> list[float]:
        """Submit as the SDK does, with an idempotency key each; the jobs are cancelled afterwards."""
        self.service.settle()
        content = json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        requests = [
            ("POST", SUBMIT_PATH, content, headers | {"idempotency-key": str(uuid.uuid4())}) for _ in range(count)
        ]
        times_ms, replies = self._ask_all(requests)
        for reply in replies if self.makes_jobs else ():
            self.service.client.jobs.cancel(json.loads(reply)["id"])
        return times_ms

    def ask_health(self, count: int) -> list[float]:
        self.service.settle()
        return self._ask_all([("GET", "/health", None, {})] * count)[0]

    def _ask_all(self, requests: Sequence[Request]) -> tuple[list[float], list[bytes]]:
        """One after the other over a connection that is kept alive; times in milliseconds."""
        times_ms, replies = [], []
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30.0)
        with closing(connection):
            connection.connect()
            for request in requests:
                started = time.perf_counter()
                connection.request(*request)
                response = connection.getresponse()
                replies.append(response.read())
                times_ms.append((time.perf_counter() - started) * 1000)
                if response.status >= 300:
                    raise BenchError(f"{request[:2]} was answered {response.status}: {replies[-1][:300]!r}")
        return times_ms, replies


def run(bench: Bench) -> list[Measurement]:
    service = bench.service
    work = prepare(service, bench.folder, TINY)
    body = work.job("a submit", max_steps=10).model_dump(mode="json")
    bare_port, own_port = free_ports(2)
    count = 50 if bench.quick else 200
    with (
        halted_job(service, work),
        server("tests.bench.bare_api", str(service.settings.home / "bare.db"), str(bare_port), port=bare_port),
        server("tests.bench.own_api", str(service.settings.home), str(own_port), port=own_port),
    ):
        doors = [Door(service, service.settings.port), Door(service, bare_port, False), Door(service, own_port)]
        blocks = interleave(
            bench.pairs,
            *(partial(door.submit, count, body) for door in doors),
            *(partial(door.ask_health, count) for door in doors),
        )
    return _measurements(count, blocks)


def _measurements(count: int, blocks: list[list[list[float]]]) -> list[Measurement]:
    p50, p99 = ([[percentile(block, share) for block in series] for series in blocks] for share in (0.5, 0.99))
    submit, bare, own, health, bare_health, own_health = range(6)
    proxy_ms = statistics.median(p50[health]) - statistics.median(p50[own_health])
    goals: dict[str, Any] = {"floor": [Goal(4.0)], "target": [Goal(1.3)]}
    where = f"about {proxy_ms:.1f} ms of it lie in front of our app (GET /health with and without Serve)"
    lines = [
        ("submit p50", p50[submit], p50[bare], goals | {"note": f"{count} requests a block; {where}"}),
        ("submit p99", p99[submit], p99[bare], goals),
        ("submit p50, our app without Serve", p50[own], p50[bare], {}),
        ("submit p99, our app without Serve", p99[own], p99[bare], {}),
        ("GET /health p50", p50[health], p50[bare_health], {}),
        ("GET /health p50, our app without Serve", p50[own_health], p50[bare_health], {}),
    ]
    return [Measurement(ROW, metric, "ms", ours, baseline, **more) for metric, ours, baseline, more in lines]

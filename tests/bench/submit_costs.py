"""What a request costs in our application, without Ray Serve: `python -m tests.bench.submit_costs [--requests 300]`.

Processor time, calls of functions and statements of a submit and of `GET /health`. Calls and statements are the same on
a busy machine, and processor time depends far less on it than the latencies of row 3.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import anyio.to_thread
import uvicorn
import uvloop
from fastapi import FastAPI
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ftlab import Client
from ftlab.settings import Settings
from serve.app import create_app
from tests.bench.harness import BenchError
from tests.bench.row03_submit_latency import SUBMIT_PATH
from tests.bench.service import Service
from tests.bench.workload import TINY, prepare
from tests.support.service_fakes import fake_services
from tracking.store import Store

WARM_UP_REQUESTS = 50
NUM_THREADS = 8

Ask = Callable[[], Awaitable[None]]


async def main(num_requests: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        store = Store.open(settings.store_url, is_waited_for=True)
        store.migrate()
        app = create_app(fake_services(settings, store))
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        body = await asyncio.to_thread(_job, settings, port, Path(folder))
        for name, ask in (
            ("a submit", partial(_ask, app, "POST", SUBMIT_PATH, body)),
            ("GET /health", partial(_ask, app, "GET", "/health", b"")),
        ):
            await _repeat(ask, WARM_UP_REQUESTS)
            # Once a second, a request has the gate look for the first key as well.
            num_statements = min([await _count_statements(ask) for _ in range(3)])
            began_s = time.process_time()
            await _repeat(ask, num_requests)
            spent_ms = 1000 * (time.process_time() - began_s) / num_requests
            num_calls = await _count_calls(ask, WARM_UP_REQUESTS)
            print(f"{name}: {spent_ms:.2f} ms of processor time, {num_calls:.0f} calls, {num_statements} statements")
        server.should_exit = True
        await serving
        store.close()


def _job(settings: Settings, port: int, folder: Path) -> bytes:
    service = Service(settings, is_own=False)
    with Client(f"http://127.0.0.1:{port}") as service.client:
        work = prepare(service, folder, TINY)
    return json.dumps(work.job("a submit", max_steps=10).model_dump(mode="json")).encode()


async def _ask(app: FastAPI, method: str, path: str, body: bytes) -> None:
    """One request, as it comes from the server; submits have an idempotency key each, as those of the SDK."""
    replies: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        replies.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [*headers, (b"idempotency-key", str(uuid.uuid4()).encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    if replies[0]["status"] >= 300:
        raise BenchError(f"{method} {path} was answered {replies[0]['status']}: {replies[1:]}")


async def _repeat(ask: Ask, count: int) -> None:
    for _ in range(count):
        await ask()


async def _count_statements(ask: Ask) -> int:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    await ask()
    event.remove(Engine, "before_cursor_execute", note)
    return len(seen)


async def _count_calls(ask: Ask, count: int) -> float:
    """Calls of Python's and C functions for each request, in all threads."""
    num_calls = 0

    def note(_frame: FrameType, kind: str, _argument: object) -> None:
        nonlocal num_calls
        num_calls += kind in ("call", "c_call")

    def set_up(profile: Any) -> None:
        sys.setprofile(profile)
        time.sleep(0.05)  # so that every thread takes one

    async def everywhere(profile: Any) -> None:
        await asyncio.gather(*(anyio.to_thread.run_sync(set_up, profile) for _ in range(NUM_THREADS)))
        sys.setprofile(profile)

    await everywhere(note)
    num_calls = 0
    await _repeat(ask, count)
    counted = num_calls / count
    await everywhere(None)
    return counted


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=300, help="requests of each kind that are timed")
    uvloop.run(main(parser.parse_args().requests))

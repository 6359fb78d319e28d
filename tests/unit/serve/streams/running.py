"""A real HTTP server on a free port with a real store, for tests of what streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cluster.data.requests import DataClient
from cluster.events.documents import to_documents
from cluster.events.event_hub import EventHub
from cluster.interfaces import EventDocument
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import JobConfig, LogPayload
from ftlab.settings import Settings
from ftlab.status import JobStatus
from serve.app import create_app
from serve.streams.subscriptions import EventFeed, StreamLimits
from tests.support.databases import make_database
from tests.support.service_fakes import FakeCoordinator, FakeData, FakeHuggingFace, FakeTelemetry, fake_services
from tracking.store import Store
from tracking.store.records import EventRecord, JobRef, NewEvent

JOB = "job-0123456789ab"


class SwitchedEventHub(EventHub):
    """A hub that can be taken away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False

    def publish(self, events: Sequence[EventDocument]) -> None:
        if not self.is_away:
            super().publish(events)

    async def listen(self, after: int, timeout_s: float = 20.0) -> tuple[int, list[EventDocument]]:
        if self.is_away:
            raise ServiceUnavailableError("The hub is away.")
        reply = await super().listen(after, timeout_s=0.05)
        if self.is_away:
            raise ServiceUnavailableError("The hub is away.")
        return reply


@dataclass
class World:
    """The parts of one service, and short ways to make things happen in it."""

    settings: Settings
    store: Store
    hub: SwitchedEventHub
    feed: EventFeed
    huggingface: FakeHuggingFace
    coordinator: FakeCoordinator
    telemetry: FakeTelemetry
    port: int = 0

    def add_job(self, job_id: str = JOB, *, owner: str = "local", name: str = "a job") -> JobRef:
        with self.store.begin() as tx:
            config = JobConfig(model="org/name", dataset="ds-1")
            tx.jobs.add(job_id, owner=owner, name=name, config=config, now=datetime.now(UTC))
        return JobRef(job_id, 0)

    def append(self, ref: JobRef, count: int, *, text: str = "a line", publish: bool = True) -> list[EventRecord]:
        now = datetime.now(UTC)
        new = [NewEvent(LogPayload(level="info", text=text, sent=now.timestamp()), now)] * count
        with self.store.begin() as tx:
            records = tx.events.append(ref, new)
        if publish:
            self.hub.publish(to_documents(records))
        return records

    def finish(self, ref: JobRef, *, publish: bool = True) -> None:
        """End the job the shortest way."""
        for status in (JobStatus.CANCELLING, JobStatus.CANCELLED):
            with self.store.begin() as tx:
                record = tx.jobs.move(ref, status, now=datetime.now(UTC))
            if publish:
                self.hub.publish(to_documents([record]))

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def follow(self, job_id: str = JOB, *, after: int | str | None = None, **options: Any) -> connect:
        query = "" if after is None else f"?after={after}"
        return self.connect(f"/ws/training/{job_id}{query}", **options)

    def connect(self, path: str, **options: Any) -> connect:
        options = {"compression": None, "max_size": None, "open_timeout": 60, **options}
        return connect(self.url(path, "ws"), **options)


@asynccontextmanager
async def running(
    folder: Path,
    *,
    limits: StreamLimits | None = None,
    data: DataClient | None = None,
    private_hosts: tuple[str, ...] = (),
    **feed_options: Any,
) -> AsyncIterator[World]:
    settings = Settings(home=folder, notify_private_hosts=private_hosts)
    make_database(folder / "ftlab.db")
    store = Store.open(settings.store_url)
    hub = SwitchedEventHub()
    feed = EventFeed(hub, limits=limits, **{"poll_interval_s": 0.1, "resync_interval_s": 0.2, **feed_options})
    huggingface = FakeHuggingFace()
    coordinator = FakeCoordinator()
    telemetry = FakeTelemetry()
    parts = {"huggingface": huggingface, "coordinator": coordinator, "telemetry": telemetry}
    app = create_app(fake_services(settings, store, hub, feed=feed, data=data or FakeData(), **parts))
    world = World(settings, store, hub, feed, huggingface, coordinator, telemetry)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", backlog=2048)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        world.port = server.servers[0].sockets[0].getsockname()[1]
        yield world
    finally:
        server.should_exit = True
        await serving
        store.close()


async def receive(socket: ClientConnection, timeout_s: float = 30.0) -> dict[str, Any]:
    """The next frame that is not a ping."""
    while True:
        frame = json.loads(await asyncio.wait_for(socket.recv(), timeout_s))
        if frame["type"] != "ping":
            return frame


async def acknowledge(socket: ClientConnection, seq: int) -> None:
    # The service may have ended the stream already: it waits for no last ack.
    with suppress(ConnectionClosed):
        await socket.send(json.dumps({"type": "ack", "seq": seq}))


async def read_events(socket: ClientConnection, until: int, *, ack: bool = True) -> list[int]:
    """Read and acknowledge until event `until` has come; return all sequence numbers as they came."""
    seqs: list[int] = []
    while not seqs or seqs[-1] < until:
        frame = await receive(socket)
        assert frame["type"] == "events", frame
        seqs += [event["seq"] for event in frame["events"]]
        if ack:
            await acknowledge(socket, seqs[-1])
    return seqs

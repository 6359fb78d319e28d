"""A reader of server-sent events for tests, independent of the SDK."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.unit.serve.streams.running import JOB, World

ALL = "/api/training/events/stream"
OF_JOB = f"/api/training/jobs/{JOB}/events/stream"


@dataclass
class Message:
    type: str
    data: dict[str, Any]
    id: int | None


@dataclass
class Source:
    """One open stream; keeps the id of its newest message, as a browser does."""

    response: httpx2.Response
    lines: AsyncIterator[str]
    last_id: int | None = None
    num_messages: int = 0

    async def receive(self, timeout_s: float = 10.0) -> Message:
        """The next message."""
        async with asyncio.timeout(timeout_s):
            fields: dict[str, str] = {}
            async for line in self.lines:
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                self.last_id = int(fields["id"]) if "id" in fields else self.last_id
                if "data" in fields:
                    data = json.loads(fields["data"])
                    assert data["type"] == fields["event"]
                    self.num_messages += 1
                    return Message(fields["event"], data, int(fields["id"]) if "id" in fields else None)
                fields = {}
        raise EOFError

    async def events(self, count: int) -> list[dict[str, Any]]:
        """At least `count` of the next events; other messages are skipped."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            message = await self.receive()
            found += message.data.get("events", [])
        return found


@asynccontextmanager
async def streaming(
    world: World, path: str = ALL, *, last_id: int | None = None, **params: Any
) -> AsyncIterator[Source]:
    headers = {} if last_id is None else {"last-event-id": str(last_id)}
    async with (
        httpx2.AsyncClient(timeout=30) as client,
        client.stream("GET", world.url(path), params=params, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield Source(response, response.aiter_lines())


@asynccontextmanager
async def opened(world: World, path: str = ALL, **options: Any) -> AsyncIterator[Source]:
    """A stream after its first message."""
    async with streaming(world, path, **options) as source:
        assert (await source.receive()).type == "open"
        yield source

"""WebSocket clients that follow one stream: `python -m tests.bench.socket_clients URL COUNT ack|silent`.

Driven over standard input, a line each: it opens COUNT sockets and prints `open`; after `begin` events count; at
`end` it prints one JSON document: the latency of every metrics event of that time on every socket, in milliseconds
from the event's own time to the arrival of its bytes, how many were missing, and how often a sequence had a gap.

The frames are read with the sans-IO layer of `websockets`, one callback a read: a client that took long over a frame
would be measured instead of the server.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from ftlab.client.sockets import Acks
from tests.bench.processes import say_back

OPENING_AT_ONCE = 20
OPEN_TIMEOUT_S = 60.0
LAG_S = 5.0
"""Events of the last moment get this long to arrive."""


@dataclass
class Window:
    """The time in which events count, and what arrived of them."""

    begin: float = float("inf")
    end: float = float("inf")
    seen: dict[int, int] = field(default_factory=dict)
    """Number of arrivals by the event's sequence number."""
    latencies_ms: list[float] = field(default_factory=list)
    num_gaps: int = 0

    def take(self, event: dict[str, Any], arrived_at: float) -> None:
        if event["kind"] != "metrics":
            return
        at = datetime.fromisoformat(event["at"]).timestamp()
        if self.begin <= at <= self.end:
            self.seen[event["seq"]] = self.seen.get(event["seq"], 0) + 1
            self.latencies_ms.append((arrived_at - at) * 1000)


class Client(asyncio.Protocol):
    """One socket."""

    def __init__(self, url: str, window: Window, *, acknowledges: bool) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._protocol = ClientProtocol(parse_uri(url), max_size=None)
        self._window = window
        self._acknowledges = acknowledges
        self._acks = Acks()
        self._last_seq: int | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        # Read later, so that the sockets whose bytes came at the same time get their times first.
        asyncio.get_running_loop().call_soon(self._read, data, time.time())

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("closed while opening"))

    def _read(self, data: bytes, arrived_at: float) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._finish_opening()
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._take(bytes(event.data).decode(), arrived_at)
        self._flush()

    def _finish_opening(self) -> None:
        if self._protocol.state is State.OPEN:
            self.opened.set_result(None)
        else:
            self.opened.set_exception(self._protocol.handshake_exc or ConnectionError("refused"))

    def _take(self, text: str, arrived_at: float) -> None:
        events = json.loads(text).get("events", ())
        for event in events:
            self._window.num_gaps += self._last_seq not in (None, event["seq"] - 1)
            self._last_seq = event["seq"]
            self._window.take(event, arrived_at)
        if self._acknowledges and self._acks.is_due(text, len(events)):
            self._protocol.send_text(json.dumps({"type": "ack", "seq": self._last_seq}).encode())

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)


async def main(url: str, count: int, *, acknowledges: bool) -> None:
    window = Window()
    limit = asyncio.Semaphore(OPENING_AT_ONCE)
    loop = asyncio.get_running_loop()

    async def open_one() -> None:
        uri = parse_uri(url)
        async with limit, asyncio.timeout(OPEN_TIMEOUT_S):
            _, client = await loop.create_connection(
                lambda: Client(url, window, acknowledges=acknowledges), uri.host, uri.port
            )
            await client.opened

    await asyncio.gather(*(open_one() for _ in range(count)))
    say_back("open")
    await asyncio.to_thread(sys.stdin.readline)
    window.begin = time.time()
    await asyncio.to_thread(sys.stdin.readline)
    window.end = time.time()
    await asyncio.sleep(LAG_S)
    missing = sum(count - arrivals for arrivals in window.seen.values())
    report = {"num_events": len(window.seen), "num_missing": missing, "num_gaps": window.num_gaps}
    say_back(json.dumps(report | {"latencies_ms": window.latencies_ms}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), acknowledges=sys.argv[3] == "ack"))

"""Clients that do not behave: slow, silent, or talking nonsense."""

import asyncio
import contextlib
import json
import socket as sockets
import tracemalloc

import pytest
from starlette.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serve.streams.live_stream import CloseReason, StreamClosed, StreamOptions, find_job
from serve.streams.subscriptions import StreamLimits
from serve.streams.websocket import EventSocket, is_allowed_origin
from tests.unit.serve.streams.running import JOB, acknowledge, read_events, receive, running


def test_a_client_without_acks_gets_one_window_and_is_sent_away(tmp_path):
    async def main():
        limits = StreamLimits(ack_timeout_s=0.5)
        async with running(tmp_path, limits=limits) as world:
            world.append(world.add_job(), 3_000)
            async with world.follow() as socket:
                assert await read_events(socket, 1_000, ack=False) == list(range(1, 1_001))
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert socket.close_code == 4408
                assert "no ack" in socket.close_reason

    asyncio.run(main())


def test_an_ack_opens_the_window_again(tmp_path):
    async def main():
        limits = StreamLimits(window_events=10, ack_timeout_s=5.0)
        async with running(tmp_path, limits=limits) as world:
            world.append(world.add_job(), 99)
            async with world.follow() as socket:
                seen = await read_events(socket, 10, ack=False)
                with pytest.raises(TimeoutError):
                    await receive(socket, timeout_s=0.3)
                await acknowledge(socket, 4)
                seen += await read_events(socket, 14, ack=False)
                await acknowledge(socket, 4)  # an old ack changes nothing
                with pytest.raises(TimeoutError):
                    await receive(socket, timeout_s=0.3)
                await acknowledge(socket, 14)
                seen += await read_events(socket, 100)
                assert seen == list(range(1, 101))

    asyncio.run(main())


def test_the_window_is_bound_by_bytes_too(tmp_path):
    async def main():
        limits = StreamLimits(window_bytes=1_000_000, ack_timeout_s=0.5)
        async with running(tmp_path, limits=limits) as world:
            world.append(world.add_job(), 100, text="x" * 50_000)
            async with world.follow() as socket:
                frames = []
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        frames.append(await socket.recv())
                assert socket.close_code == 4408
                assert 1_000_000 <= sum(map(len, frames)) < 1_400_000

    asyncio.run(main())


def test_clients_that_read_nothing_cost_little(tmp_path):
    async def main():
        # However slow the machine is, no client is sent away before the memory is measured.
        async with running(tmp_path, limits=StreamLimits(ack_timeout_s=600.0)) as world, _silent(world, 5) as ref:
            tracemalloc.start()
            try:
                for _ in range(40):
                    world.append(ref, 50, text="x" * 10_000)
                    await asyncio.sleep(0.02)
                held, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert world.feed.num_streams == 5
            # 20 MB of events were to be sent to each of them; what is held is shared by all.
            assert held < 40_000_000

    asyncio.run(main())


def test_clients_that_read_nothing_are_sent_away(tmp_path):
    async def main():
        async with running(tmp_path, limits=StreamLimits(ack_timeout_s=0.5)) as world, _silent(world, 2) as ref:
            for _ in range(20):
                world.append(ref, 50, text="x" * 10_000)  # more than a window, and than sockets hold
            async with asyncio.timeout(60):
                while world.feed.num_streams:
                    await asyncio.sleep(0.02)

    asyncio.run(main())


@contextlib.asynccontextmanager
async def _silent(world, number):
    """Clients of the streams of a new job that never read."""
    ref = world.add_job()
    clients = [await _connect_raw(world.port) for _ in range(number)]
    try:
        while world.feed.num_streams < number:
            await asyncio.sleep(0.01)
        yield ref
    finally:
        for client in clients:
            client.close()


async def _connect_raw(port: int) -> sockets.socket:
    """A WebSocket client whose receive buffer is tiny and never emptied."""
    client = sockets.socket()
    client.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    head = (
        f"GET /ws/training/{JOB}?after=1 HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nupgrade: websocket\r\n"
        "connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await loop.sock_sendall(client, head.encode())
    assert (await loop.sock_recv(client, 12)).endswith(b"101")
    return client


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("nonsense", "invalid_frame"),
        ("[" * 50_000, "invalid_frame"),
        ("[]", "invalid_frame"),
        ("null", "invalid_frame"),
        ('{"type": "subscribe"}', "invalid_frame"),
        ('{"type": "ack"}', "invalid_frame"),
        ('{"type": "ack", "seq": true}', "invalid_frame"),
        ('{"type": "ack", "seq": -1}', "invalid_frame"),
        ('{"type": "ack", "seq": 1.5}', "invalid_frame"),
        ('{"type": "ack", "seq": 9}', "seq_in_future"),
        (b'{"type": "ack", "seq": 1}', "invalid_frame"),
        (json.dumps({"type": "ack", "seq": 1, "pad": "x" * 70_000}), "invalid_frame"),
        ("x" * 1_000_000, "invalid_frame"),
    ],
)
def test_frames_that_are_no_acks_close_the_socket(tmp_path, frame, code):
    async def main():
        async with running(tmp_path) as world:
            world.add_job()
            async with world.follow() as socket:
                await receive(socket)
                await socket.send(frame)
                reply = await receive(socket)
                await socket.wait_closed()
            assert set(reply["error"]) == {"message", "type", "param", "code", "request_id"}
            assert reply["error"]["code"] == code
            assert socket.close_code == 4400

    asyncio.run(main())


@pytest.mark.parametrize(
    ("after", "code"),
    [
        ("2", "seq_in_future"),
        ("9" * 18, "seq_in_future"),
        ("9" * 19, "invalid_after"),
        ("-1", "invalid_after"),
        ("1.0", "invalid_after"),
        ("abc", "invalid_after"),
        ("", "invalid_after"),
        ("%C2%B2", "invalid_after"),
    ],
)
def test_a_bad_start_is_refused(tmp_path, after, code):
    async def main():
        async with running(tmp_path) as world:
            world.add_job()
            async with world.follow(after=after) as socket:
                reply = await receive(socket)
                await socket.wait_closed()
            assert (reply["error"]["code"], reply["error"]["param"]) == (code, "after")
            assert socket.close_code == 4400

    asyncio.run(main())


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "ftlab.example", True),
        ("https://ftlab.example", "ftlab.example", True),
        ("https://FTLAB.example", "ftlab.example:443", True),
        ("http://ftlab.example:8000", "ftlab.example:8000", True),
        ("http://localhost:5173", "ftlab.example", True),
        ("http://127.0.0.1", "ftlab.example:8000", True),
        ("http://[::1]:3000", "ftlab.example:8000", True),
        ("https://evil.example", "ftlab.example", False),
        ("http://ftlab.example:8001", "ftlab.example:8000", False),
        ("http://localhost.evil.example", "ftlab.example", False),
        ("https://ftlab.example@evil.example", "ftlab.example", False),
        ("file://", "ftlab.example", False),
        ("null", "ftlab.example", False),
        ("", "", False),
        ("http://[", "[", False),
        ("http://a:99999", "a:99999", False),
    ],
)
def test_origins(origin, host, allowed):
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    assert is_allowed_origin(Headers(headers)) is allowed


def test_a_foreign_origin_is_refused_before_the_socket_opens(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            world.add_job()
            with pytest.raises(InvalidStatus) as refusal:
                await world.follow(origin="https://evil.example").__aenter__()
            assert refusal.value.response.status_code == 403
            async with world.follow(origin="http://localhost:5173") as socket:
                assert await read_events(socket, 1) == [1]

    asyncio.run(main())


def test_an_ack_that_overtakes_the_sending_side_is_no_ack_from_the_future(tmp_path):
    class Eager:
        """A connection whose client acknowledges a frame before `send` returns."""

        def __init__(self) -> None:
            self.acks: asyncio.Queue = asyncio.Queue()
            self.sent: list[dict] = []

        async def send_text(self, text: str) -> None:
            frame = json.loads(text)
            self.sent.append(frame)
            if frame["type"] == "events":
                ack = json.dumps({"type": "ack", "seq": frame["events"][-1]["seq"]})
                await self.acks.put({"type": "websocket.receive", "text": ack})
            await asyncio.sleep(0.02)

        async def receive(self) -> dict:
            return await self.acks.get()

    async def main():
        async with running(tmp_path, limits=StreamLimits(window_events=2)) as world:
            world.finish(world.add_job())
            connection = Eager()
            start = find_job(world.store, "local", JOB, None)
            with world.feed.follow(start.log) as subscription:
                socket = EventSocket(connection, world.feed.limits, subscription)
                with pytest.raises(StreamClosed) as closed:
                    await socket.stream(start, StreamOptions(), world.store, world.feed)
            assert [frame["type"] for frame in connection.sent] == ["events", "events", "end"]
            assert closed.value.reason is CloseReason.JOB_ENDED

    asyncio.run(main())

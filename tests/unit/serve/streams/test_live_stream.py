"""How a stream sends: at once where its client has room, by its own task where it has not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from serve.streams.event_pages import Frame
from serve.streams.live_stream import CloseReason, LiveStream, StreamClosed, StreamOptions, StreamStart
from serve.streams.subscriptions import EventFeed, StreamLimits
from tests.support.service_fakes import FakeEventHub
from tests.unit.serve.streams.test_subscriptions import LOG, event


class Pipe:
    """A connection that takes frames while it is open."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.error: Exception | None = None

    def room(self) -> int:
        return 1_000

    async def send_events(self, frame: Frame) -> None:
        await self.is_open.wait()
        if self.error:
            raise self.error
        self.sent.append(frame.last)

    async def send_message(self, message: dict[str, Any], number: int | None = None) -> None:
        raise AssertionError

    async def send_ping(self, number: int) -> None:
        raise AssertionError


@asynccontextmanager
async def streaming(feed: EventFeed, **options: Any) -> AsyncIterator[tuple[Pipe, asyncio.Task[None]]]:
    """A stream that waits for the event after 0, and its task."""
    pipe = Pipe()
    with feed.follow(LOG) as subscription:
        subscription.begin_read()
        stream = LiveStream(pipe, StreamStart(LOG, 0), StreamOptions(**options), None, feed, subscription)
        task = asyncio.create_task(stream.run())
        await asyncio.sleep(0)
        try:
            yield pipe, task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def with_feed(test: Callable[[EventFeed], Awaitable[None]], **limits: float) -> None:
    async def main() -> None:
        await test(EventFeed(FakeEventHub(), limits=StreamLimits(**limits)))

    asyncio.run(main())


def test_an_event_is_sent_to_all_streams_that_wait_before_any_task_runs():
    async def test(feed: EventFeed) -> None:
        async with streaming(feed) as (one, _), streaming(feed) as (other, _), streaming(feed, rate=50.0) as (slow, _):
            feed._deliver([event(1), event(2)])
            feed._deliver([event(3)])
            assert (one.sent, other.sent, slow.sent) == ([2, 3], [2, 3], [])
            await until(lambda: slow.sent)

    with_feed(test)


def test_a_client_without_room_delays_nobody_and_misses_nothing():
    async def test(feed: EventFeed) -> None:
        async with streaming(feed) as (one, _), streaming(feed) as (other, _):
            one.is_open.clear()
            for seq in (1, 2, 3):
                feed._deliver([event(seq)])
            assert (one.sent, other.sent) == ([], [1, 2, 3])
            await asyncio.sleep(0.01)
            one.is_open.set()
            await until(lambda: len(one.sent) == 3)
            feed._deliver([event(4)])
            await until(lambda: len(one.sent) == 4)
            assert one.sent == [1, 2, 3, 4]

    with_feed(test)


def test_a_client_that_stays_without_room_is_sent_away():
    async def test(feed: EventFeed) -> None:
        async with streaming(feed) as (pipe, task):
            pipe.is_open.clear()
            feed._deliver([event(1)])
            with pytest.raises(StreamClosed) as closed:
                await task
            assert closed.value.reason is CloseReason.TOO_SLOW

    with_feed(test, ack_timeout_s=0.05)


def test_a_client_that_is_gone_ends_its_own_stream_only():
    async def test(feed: EventFeed) -> None:
        async with streaming(feed) as (gone, task), streaming(feed) as (other, _):
            gone.error = WebSocketDisconnect(1006)
            feed._deliver([event(1)])
            feed._deliver([event(2)])
            assert other.sent == [1, 2]
            with pytest.raises(WebSocketDisconnect):
                await task

    with_feed(test)


def test_what_arrives_out_of_order_is_not_sent_at_once():
    async def test(feed: EventFeed) -> None:
        async with streaming(feed) as (pipe, _):
            feed._deliver([event(2)])
            assert pipe.sent == []

    with_feed(test)

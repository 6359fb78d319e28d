"""What lies between the hub and the sockets: event_pages, pages and the bounded buffer of a subscription."""

import asyncio
import json
import threading
import time
from datetime import UTC, datetime

import pytest

from cluster.events.documents import to_document
from cluster.fakes import FakeEventHub
from cluster.interfaces import FROM_NOW, SERVICE_STOPS, EventDocument
from ftlab.schemas import EventKind
from serve.streams import event_pages
from serve.streams.event_pages import MAX_FRAME_BYTES, PAGE_EVENTS, EventPages, EventSlice, slices_of
from serve.streams.logs import JobLog
from serve.streams.subscriptions import PENDING_BYTES, PENDING_EVENTS, EventFeed, Subscription
from tests.unit.serve.streams.running import JOB, running
from tracking.store.records import EventRecord

LOG = JobLog(JOB)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def event(seq: int, kind: EventKind = EventKind.LOG, **data) -> EventDocument:
    return to_document(EventRecord(JOB, seq, 1, AT, kind, {"text": "x", **data}, "local", 10 * seq))


def events(first: int, last: int, **data) -> EventSlice:
    return EventSlice(LOG, [event(seq, **data) for seq in range(first, last + 1)])


def test_a_frame_takes_what_there_is_room_for():
    whole = events(11, 20)
    for after, room, expected in [(10, 1_000, range(11, 21)), (14, 3, range(15, 18)), (19, 1, range(20, 21))]:
        frame = whole.frame(after, room)
        assert [item["seq"] for item in json.loads(frame.text)["events"]] == list(expected)
        assert frame.last == expected[-1]


def test_sockets_at_the_same_place_share_the_text():
    whole = events(1, 10)
    assert whole.frame(0, 1_000).text is whole.frame(0, 500).text
    assert json.loads(whole.frame(0, 2).text)["events"][-1]["seq"] == 2


def test_a_frame_is_cut_by_size():
    whole = events(1, 40, pad="x" * 50_000)
    sizes, after = [], 0
    while after < whole.last:
        frame = whole.frame(after, 1_000)
        sizes.append(len(frame.text))
        after = frame.last
    assert max(sizes) < MAX_FRAME_BYTES + 51_000
    assert len(sizes) == 7
    assert len(events(1, 1, pad="x" * MAX_FRAME_BYTES * 2).frame(0, 1_000).text) > MAX_FRAME_BYTES * 2


def test_a_slice_knows_whether_the_job_ended():
    completed = event(2, EventKind.STATUS, status="completed")
    reopened = event(3, EventKind.STATUS, status="queued")
    assert EventSlice(LOG, [event(1), completed]).has_end
    assert EventSlice(LOG, [completed, reopened]).has_end
    assert not EventSlice(LOG, [event(1), reopened]).has_end


def test_events_out_of_order_are_ordered_and_cut_at_gaps():
    slices = slices_of(LOG, [event(seq) for seq in (5, 4, 4, 9, 1, 8)])
    assert [(found.after, found.last) for found in slices] == [(0, 1), (3, 5), (7, 9)]


def test_a_subscription_hands_over_what_goes_on():
    async def main():
        subscription = Subscription(LOG)
        subscription.begin_read()
        subscription.offer(events(1, 5))
        subscription.offer(events(6, 9))
        assert subscription.take(7).after == 5
        assert subscription.take(9) is None
        assert not subscription.stale
        subscription.offer(events(11, 12))
        assert subscription.take(9) is None
        assert subscription.stale

    asyncio.run(main())


@pytest.mark.parametrize("pad", ["", "x" * 200_000])
def test_a_subscription_holds_a_bounded_number_of_events_and_bytes(pad):
    async def main():
        subscription = Subscription(LOG)
        subscription.begin_read()
        for first in range(1, 2_501, 100):
            subscription.offer(events(first, first if pad else first + 99, pad=pad))
            assert subscription._num_events <= PENDING_EVENTS
            assert subscription._num_bytes <= PENDING_BYTES
        assert subscription.stale
        assert subscription.wake.is_set()

    asyncio.run(main())


def test_sockets_at_the_same_place_share_one_read(tmp_path, monkeypatch):
    async def main():
        async with running(tmp_path) as world:
            world.append(world.add_job(), 2 * PAGE_EVENTS)
            num_reads, read = 0, world.store.read

            def counted():
                nonlocal num_reads
                num_reads += 1
                return read()

            monkeypatch.setattr(world.store, "read", counted)
            pages = EventPages()
            found = await asyncio.gather(*(pages.after(world.store, LOG, 0) for _ in range(100)))
            assert num_reads == 1
            assert {id(page) for page in found} == {id(found[0])}
            assert (found[0].after, found[0].last) == (0, PAGE_EVENTS)
            await pages.after(world.store, LOG, 0)
            assert num_reads == 1  # a full page never changes
            assert set(await asyncio.gather(*(pages.after(world.store, LOG, 1_001) for _ in range(100)))) == {None}
            assert num_reads == 3  # nothing found may be old news, so one more looks again for all

    asyncio.run(main())


def test_an_event_committed_during_a_shared_read_is_found(tmp_path, monkeypatch):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            has_read, may_return = threading.Event(), threading.Event()

            def slow(*args):
                page = read_page(*args)
                has_read.set()
                assert may_return.wait(5)
                return page

            pages = EventPages()
            monkeypatch.setattr(event_pages, "_read_page", slow)
            early = asyncio.create_task(pages.after(world.store, LOG, 1))
            await asyncio.to_thread(has_read.wait, 5)
            world.append(ref, 1)
            late = [asyncio.create_task(pages.after(world.store, LOG, 1)) for _ in range(3)]
            await asyncio.sleep(0.05)
            may_return.set()
            assert await early is None
            assert {page.last for page in await asyncio.gather(*late)} == {2}

    read_page = event_pages._read_page
    asyncio.run(main())


def test_a_hub_that_fails_in_any_expected_way_is_asked_again():
    class Flaky(FakeEventHub):
        def __init__(self) -> None:
            super().__init__()
            self.replies = [ConnectionError("gone"), TimeoutError(), (7, []), (8, [event(1)])]
            self.asked: list[int] = []

        async def listen(self, after: int):
            self.asked.append(after)
            if not self.replies:
                return await super().listen(after)
            reply = self.replies.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return reply

    async def main():
        hub = Flaky()
        feed = EventFeed(hub)
        with feed.follow(LOG) as subscription:
            await feed.start()
            subscription.begin_read()
            started = time.monotonic()
            while subscription.take(0) is None:
                await asyncio.sleep(0.01)
            assert time.monotonic() - started < 3.0
            assert hub.asked[:4] == [FROM_NOW, FROM_NOW, FROM_NOW, 7]
            assert subscription.stale  # the position jumped: something may be missing
        await feed.stop()
        assert feed.num_streams == 0

    asyncio.run(main())


def test_a_log_is_read_again_after_a_time_without_events():
    async def main():
        feed = EventFeed(FakeEventHub())
        with feed.follow(LOG) as busy, feed.follow(JobLog("job-other")) as quiet:
            for subscription in (busy, quiet):
                subscription.begin_read()
            feed._hub_answers = True
            feed._deliver([event(1)])
            feed._resync()
            assert (busy.stale, quiet.stale) == (False, True)
            feed._resync()
            assert busy.stale
            busy.begin_read()
            feed._deliver([event(2)])
            feed._hub_answers = False
            feed._resync()
            assert busy.stale

    asyncio.run(main())


def test_nobody_is_listened_for_while_there_is_no_socket():
    class Asked(FakeEventHub):
        def __init__(self) -> None:
            super().__init__()
            self.asked: list[int] = []
            self.heard = asyncio.Queue[tuple[int, list[EventDocument]]]()

        async def listen(self, after: int):
            self.asked.append(after)
            return await self.heard.get()

    async def main():
        hub = Asked()
        feed = EventFeed(hub)
        await feed.start()
        await asyncio.sleep(0.05)
        assert hub.asked == []
        for _ in range(2):
            with feed.follow(LOG) as subscription:
                await asyncio.sleep(0.01)
                subscription.begin_read()
                hub.heard.put_nowait((7, []))
                await asyncio.wait_for(subscription.wake.wait(), 2.0)
                assert subscription.stale  # what came before the hub's first answer is read from the log
            hub.heard.put_nowait((8, [event(1)]))
            await asyncio.sleep(0.05)
        assert hub.asked == [FROM_NOW, 7, FROM_NOW, 7]
        await feed.stop()

    asyncio.run(main())


def test_followers_are_sent_away_before_the_service_stops(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            async with world.follow() as socket:
                world.append(ref, 1)
                await asyncio.wait_for(socket.recv(), 5)
                world.hub.publish([SERVICE_STOPS])
                await asyncio.wait_for(socket.wait_closed(), 5)
                assert socket.close_code == 1012
            async with world.follow() as again:
                await asyncio.wait_for(again.wait_closed(), 5)
                assert again.close_code == 1012

    asyncio.run(main())

"""The live stream as a well-behaved client sees it: replay, then live, no gap, no double, an end."""

import asyncio
import json
import random
import threading
import time
from datetime import UTC, datetime

import pytest
from websockets.exceptions import ConnectionClosed

from ftlab.errors import ServiceUnavailableError
from ftlab.status import JobStatus, ReasonCode
from serve.streams.event_pages import PAGE_EVENTS
from serve.streams.subscriptions import StreamLimits
from tests.unit.serve.jobs.statuses import bring
from tests.unit.serve.streams.running import JOB, World, acknowledge, read_events, receive, running


def test_a_replay_goes_over_into_the_live_stream(tmp_path):
    async def main():
        async with running(tmp_path, resync_interval_s=60.0) as world:
            ref = world.add_job()
            world.append(ref, 1_200)
            async with world.follow() as socket:
                assert await read_events(socket, 1_201) == list(range(1, 1_202))
                started = time.monotonic()
                world.append(ref, 3)
                assert await read_events(socket, 1_204) == [1_202, 1_203, 1_204]
                assert time.monotonic() - started < 10, "long before it would look again"

    asyncio.run(main())


def test_a_job_is_followed_by_its_unique_name(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            world.append(world.add_job(name="a tuned friend"), 2)
            async with world.follow("a%20tuned%20friend") as socket:
                assert await read_events(socket, 3) == [1, 2, 3]

    asyncio.run(main())


def test_events_look_the_same_from_the_hub_and_from_the_database(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            async with world.follow(after=1) as live:
                await asyncio.sleep(0.2)
                world.append(ref, 2, text="naïve 😀")
                from_hub = await receive(live)
            async with world.follow(after=1) as replay:
                assert await receive(replay) == from_hub
            event = from_hub["events"][0]
            assert set(event) == {"job_id", "seq", "attempt", "at", "kind", "data"}
            assert event["data"]["text"] == "naïve 😀"

    asyncio.run(main())


def test_no_gap_and_no_double_while_a_thread_appends_and_clients_come_and_go(tmp_path):
    total = 1_500

    def appender(world: World, ref) -> None:
        rng = random.Random(1)
        left = total - 1
        while left:
            count = min(left, rng.choice((1, 1, 2, 5, 40)))
            # A fifth of the batches is never published, as if the hub had lost them.
            world.append(ref, count, publish=rng.random() > 0.2)
            left -= count
            time.sleep(0.002)

    async def client(world: World, rng: random.Random) -> None:
        seen: list[int] = []
        while not seen or seen[-1] < total:
            await asyncio.sleep(rng.random() * 0.3)
            async with world.follow(after=seen[-1] if seen else 0) as socket:
                for _ in range(rng.randrange(1, 40)):
                    frame = await receive(socket)
                    seen += [event["seq"] for event in frame["events"]]
                    if rng.random() < 0.7:
                        await acknowledge(socket, seen[-1])
                    if seen[-1] >= total:
                        break
        assert seen == list(range(1, total + 1))

    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            thread = threading.Thread(target=appender, args=(world, ref))
            thread.start()
            await asyncio.gather(*(client(world, random.Random(seed)) for seed in range(12)))
            thread.join()

    asyncio.run(main())


def test_the_stream_ends_after_the_terminal_status(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            async with world.follow() as socket:
                assert await read_events(socket, 1) == [1]
                world.finish(ref)
                assert await read_events(socket, 3) == [2, 3]
                assert await receive(socket) == {"type": "end", "status": "cancelled"}
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert socket.close_code == 1000

    asyncio.run(main())


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_finished_job_is_replayed_and_ended(tmp_path, after):
    async def main():
        async with running(tmp_path) as world:
            world.finish(world.add_job())
            async with world.follow(after=after) as socket:
                frames = [json.loads(frame) async for frame in socket]
            events = [event["seq"] for frame in frames[:-1] for event in frame["events"]]
            assert events == list(range(after + 1, 4))
            assert frames[-1] == {"type": "end", "status": "cancelled"}
            assert socket.close_code == 1000

    asyncio.run(main())


@pytest.mark.parametrize("num_lines", [3, PAGE_EVENTS - 5], ids=["inside a page", "at the end of a page"])
def test_a_job_that_was_reopened_is_followed_beyond_its_first_end(tmp_path, num_lines):
    async def main():
        async with running(tmp_path) as world:
            world.add_job()
            ref = bring(world.store, JOB, JobStatus.RUNNING)
            world.append(ref, num_lines)
            now = datetime.now(UTC)
            with world.store.begin() as tx:
                tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=now)
                tx.jobs.move(ref, JobStatus.COMPLETED, now=now)
                reopened = tx.jobs.reopen(ref, message="More.", now=now)
            async with world.follow() as socket:
                assert await read_events(socket, reopened.seq) == list(range(1, reopened.seq + 1))
                world.finish(ref)
                assert await read_events(socket, reopened.seq + 2) == [reopened.seq + 1, reopened.seq + 2]
                assert await receive(socket) == {"type": "end", "status": "cancelled"}

    asyncio.run(main())


def test_the_database_takes_over_while_the_hub_is_away(tmp_path):
    async def main():
        async with running(tmp_path, resync_interval_s=60.0) as world:
            ref = world.add_job()
            async with world.follow() as socket:
                await read_events(socket, 1)
                world.hub.is_away = True
                await asyncio.sleep(0.2)
                world.append(ref, 5)
                assert await read_events(socket, 6) == [2, 3, 4, 5, 6]
                world.hub.is_away = False
                await asyncio.sleep(2.5)  # the longest pause between two looks at a hub that is away
                world.append(ref, 1)
                assert await read_events(socket, 7) == [7]

    asyncio.run(main())


def test_a_lost_hint_is_made_good(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            async with world.follow() as socket:
                await read_events(socket, 1)
                world.append(ref, 2, publish=False)
                assert await read_events(socket, 3) == [2, 3]

    asyncio.run(main())


def test_silence_is_broken_by_pings(tmp_path):
    async def main():
        async with running(tmp_path, limits=StreamLimits(ping_interval_s=0.1)) as world:
            world.add_job()
            async with world.follow(after=1) as socket:
                assert [json.loads(await socket.recv()) for _ in range(3)] == [{"type": "ping"}] * 3

    asyncio.run(main())


def test_three_hundred_clients_get_one_event(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            sockets = await asyncio.gather(*(world.follow(after=1).__aenter__() for _ in range(300)))
            await asyncio.sleep(0.5)
            world.append(ref, 1)
            frames = await asyncio.gather(*(receive(socket) for socket in sockets))
            assert {frame["events"][0]["seq"] for frame in frames} == {2}
            await asyncio.gather(*(socket.close() for socket in sockets))

    asyncio.run(main())


def test_shutdown_sends_everyone_away_to_come_again(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            world.add_job()
            async with world.follow() as socket:
                await read_events(socket, 1)
                await world.feed.stop()
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert socket.close_code == 1012

    asyncio.run(main())


def test_a_locked_database_delays_and_does_not_cut(tmp_path, monkeypatch):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            async with world.follow() as socket:
                await read_events(socket, 1)
                world.append(ref, 1, publish=False)
                read = world.store.read
                monkeypatch.setattr(world.store, "read", _away)
                await asyncio.sleep(0.4)
                monkeypatch.setattr(world.store, "read", read)
                assert await read_events(socket, 2) == [2]
            monkeypatch.setattr(world.store, "read", _away)
            async with world.follow() as socket:
                assert (await receive(socket))["error"]["code"] == "service_unavailable"
                await socket.wait_closed()
                assert socket.close_code == 1013
            monkeypatch.setattr(world.store, "read", read)

    asyncio.run(main())


def _away():
    raise ServiceUnavailableError("The database is away.")


def test_a_foreign_job_looks_unknown(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            world.add_job(owner="somebody else")
            for job_id in (JOB, "job-none"):
                async with world.follow(job_id) as socket:
                    frame = await receive(socket)
                    await socket.wait_closed()
                assert frame["type"] == "error"
                assert frame["error"]["code"] == "job_not_found"
                assert socket.close_code == 4404

    asyncio.run(main())


@pytest.mark.parametrize("is_replayed", [False, True])
def test_a_job_that_is_deleted_ends_its_stream(tmp_path, is_replayed):
    """Of a socket that has all events so far, and of one that is still behind the end of the log."""

    async def main():
        async with running(tmp_path, limits=StreamLimits(window_events=2), resync_interval_s=0.2) as world:
            ref = world.add_job()
            world.append(ref, 5)
            if is_replayed:
                bring(world.store, JOB, JobStatus.CANCELLED)
            async with world.follow() as socket:
                await receive(socket)
                if not is_replayed:
                    await acknowledge(socket, 2)
                    assert await read_events(socket, 6) == [3, 4, 5, 6]
                    bring(world.store, JOB, JobStatus.CANCELLED)
                with world.store.begin() as tx:
                    tx.deletions.delete_job(JOB, now=datetime.now(UTC))
                await acknowledge(socket, 2 if is_replayed else 6)
                frame = await receive(socket)
                while frame["type"] != "error":
                    if frame["type"] == "events":  # it had read them before
                        await acknowledge(socket, frame["events"][-1]["seq"])
                    frame = await receive(socket)
                assert frame["error"]["code"] == "job_deleted"
                with pytest.raises(ConnectionClosed) as closed:
                    await receive(socket)
                assert closed.value.rcvd.code == 4404

    asyncio.run(main())

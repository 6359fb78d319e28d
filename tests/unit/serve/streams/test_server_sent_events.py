"""Server-sent events of one job and of all jobs: replay, then live, no gap, no double, an end."""

import asyncio
import random
import socket as sockets
import threading
import time
from datetime import UTC, datetime

import httpx2
import pytest

from cluster.interfaces import QUEUE_CHANGED, SERVICE_STOPS, deleted_job_of, new_job_of
from ftlab.schemas import NoticePayload
from ftlab.status import JobStatus
from serve.streams import server_sent_events
from serve.streams.event_pages import PAGE_EVENTS
from serve.streams.subscriptions import StreamLimits
from tests.unit.serve.jobs.statuses import bring
from tests.unit.serve.streams.running import JOB, World, running
from tests.unit.serve.streams.sse import ALL, OF_JOB, opened, streaming
from tracking.store.records import JobRef, NewEvent

OTHER = "job-ba9876543210"


def test_the_first_bytes_are_as_the_standard_says(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            world.add_job()
            async with streaming(world, after=0) as source:
                assert source.response.headers["content-type"] == "text/event-stream; charset=utf-8"
                assert source.response.headers["cache-control"] == "no-store"
                assert source.response.headers["x-accel-buffering"] == "no"
                lines = [await anext(source.lines) for _ in range(8)]
            assert lines[:7] == [
                "retry: 1000",
                "id: 0",
                "event: open",
                'data: {"type": "open", "position": 0}',
                "",
                "id: 1",
                "event: events",
            ]
            assert lines[7].startswith('data: {"type":"events","position":1,"events":[{"job_id":"job-0123456789ab"')

    asyncio.run(main())


def test_all_jobs_in_one_stream_and_no_other_owners(tmp_path):
    async def main():
        async with running(tmp_path, resync_interval_s=60.0) as world:
            first = world.add_job()
            world.add_job("job-00000000000x", owner="somebody else")
            async with opened(world, after=0) as source:
                assert [event["job_id"] for event in await source.events(1)] == [JOB]
                second = world.add_job(OTHER)
                world.hub.publish([new_job_of("local")])
                assert [(event["job_id"], event["seq"]) for event in await source.events(1)] == [(OTHER, 1)]
                world.append(second, 1)
                world.append(JobRef("job-00000000000x", 0), 1)
                world.append(first, 1)
                events = await source.events(2)
                assert [(event["job_id"], event["seq"]) for event in events] == [(OTHER, 2), (JOB, 2)]
                assert source.last_id == 4

    asyncio.run(main())


def test_by_default_all_jobs_are_streamed_from_now_on_and_one_job_from_its_first_event(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            world.append(ref, 3)
            async with opened(world) as source, opened(world, OF_JOB) as of_job:
                assert source.last_id == 4
                world.append(ref, 1)
                assert [event["seq"] for event in await source.events(1)] == [5]
                assert [event["seq"] for event in await of_job.events(5)] == [1, 2, 3, 4, 5]
                assert of_job.last_id == 5

    asyncio.run(main())


@pytest.mark.parametrize("rate", [None, 20.0])
def test_no_gap_and_no_double_over_all_jobs_while_clients_come_and_go(tmp_path, rate):
    num_jobs, each = 4, 300

    def appender(world: World, ref: JobRef, seed: int) -> None:
        rng, left = random.Random(seed), each - 1
        while left:
            count = min(left, rng.choice((1, 1, 2, 5, 40)))
            # A fifth of the batches is never published, as if the hub had lost them.
            world.append(ref, count, publish=rng.random() > 0.2)
            left -= count
            time.sleep(0.003)

    async def client(world: World, rng: random.Random) -> None:
        seen: dict[str, list[int]] = {}
        last_id = None
        while sum(map(len, seen.values())) < num_jobs * each:
            start = {"after": 0} if last_id is None else {"last_id": last_id, "after": 0}
            async with opened(world, **start, **({"rate": rate} if rate else {})) as source:
                for _ in range(rng.randrange(1, 30)):
                    for event in (await source.receive()).data.get("events", []):
                        seen.setdefault(event["job_id"], []).append(event["seq"])
                    if sum(map(len, seen.values())) >= num_jobs * each:
                        break
                last_id = source.last_id
        assert seen == {f"job-00000000000{number}": list(range(1, each + 1)) for number in range(num_jobs)}

    async def main():
        async with running(tmp_path) as world:
            refs = [world.add_job(f"job-00000000000{number}", name=f"j{number}") for number in range(num_jobs)]
            threads = [threading.Thread(target=appender, args=(world, ref, seed)) for seed, ref in enumerate(refs)]
            for thread in threads:
                thread.start()
            await asyncio.gather(*(client(world, random.Random(seed)) for seed in range(6)))
            for thread in threads:
                thread.join()

    asyncio.run(main())


def test_a_deleted_job_leaves_a_hole_that_no_client_stumbles_over(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            kept = world.add_job()
            world.append(world.add_job(OTHER), PAGE_EVENTS)
            bring(world.store, OTHER, JobStatus.CANCELLED)
            world.append(kept, 2)
            with world.store.begin() as tx:
                tx.deletions.delete_job(OTHER, now=datetime.now(UTC))
                newest = tx.events.last_position("local")
            async with opened(world, after=0) as source:
                assert [event["seq"] for event in await source.events(3)] == [1, 2, 3]
                assert source.last_id == newest

    asyncio.run(main())


def test_only_the_kinds_that_were_asked_for_come(tmp_path):
    async def main():
        async with running(tmp_path, limits=StreamLimits(ping_interval_s=0.1)) as world:
            ref = world.add_job()
            async with opened(world, after=0, kind=["status", "notice"]) as source:
                world.append(ref, 700)  # log lines
                with world.store.begin() as tx:
                    notice = NewEvent(NoticePayload(code="x", message="y"), datetime.now(UTC))
                    tx.events.append(ref, [notice])
                assert [event["kind"] for event in await source.events(2)] == ["status", "notice"]
                world.append(ref, 5)
                # A ping carries the place that a client with this filter has reached.
                async with asyncio.timeout(30):
                    while source.last_id != 707:
                        with pytest.raises(TimeoutError):
                            await source.receive(timeout_s=0.2)

    asyncio.run(main())


def test_a_rate_gathers_events_and_drops_none(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            async with opened(world, rate=4) as source, opened(world) as at_once:
                started = time.monotonic()
                for _ in range(50):
                    world.append(ref, 1)
                    await asyncio.sleep(0.02)
                assert [event["seq"] for event in await source.events(50)] == list(range(2, 52))
                took_s = time.monotonic() - started
                assert source.num_messages <= 2 + 4 * took_s
                await at_once.events(50)
                assert at_once.num_messages > source.num_messages

    asyncio.run(main())


def test_a_deleted_job_is_reported_to_its_owner_and_ends_its_own_stream(tmp_path):
    """At once: without an event hub, the lists would show it until they are read again."""

    async def main():
        async with running(tmp_path, resync_interval_s=60.0) as world:
            ref = world.add_job()
            world.append(ref, 1)
            async with opened(world) as everything, opened(world, OF_JOB) as own:
                await own.receive()
                bring(world.store, JOB, JobStatus.CANCELLED)
                with world.store.begin() as tx:
                    tx.deletions.delete_job(JOB, now=datetime.now(UTC))
                world.hub.publish([deleted_job_of("local", JOB), deleted_job_of("somebody", "job-of-somebody")])
                message = await everything.receive()
                assert (message.type, message.id, message.data) == (
                    "deleted",
                    None,
                    {"type": "deleted", "job_id": JOB},
                )
                with pytest.raises(TimeoutError):
                    await everything.receive(timeout_s=0.3)
                closing = await own.receive()
                assert (closing.type, closing.data["code"]) == ("close", "job_deleted")

    asyncio.run(main())


def test_a_change_of_the_queue_is_reported_at_most_once_a_second(tmp_path):
    async def main():
        async with running(tmp_path, resync_interval_s=60.0) as world:
            world.add_job()
            async with opened(world) as source:
                await asyncio.sleep(0.2)
                started = time.monotonic()
                world.hub.publish([QUEUE_CHANGED])
                first = await source.receive()
                for _ in range(30):
                    world.hub.publish([QUEUE_CHANGED])
                    await asyncio.sleep(0)
                second = await source.receive()
                assert (first.type, first.id, second.type) == ("queue", None, "queue")
                assert time.monotonic() - started > 0.9
                with pytest.raises(TimeoutError):
                    await source.receive(timeout_s=1.2)

    asyncio.run(main())


def test_the_stream_of_a_job_ends_and_a_browser_that_reconnects_is_stopped(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            async with opened(world, OF_JOB) as source:
                await source.events(1)
                world.finish(ref)
                assert [event["seq"] for event in await source.events(2)] == [2, 3]
                assert (await source.receive()).data == {"type": "end", "status": "cancelled"}
                with pytest.raises(EOFError):
                    await source.receive()
            async with httpx2.AsyncClient() as client:
                reply = await client.get(world.url(OF_JOB), headers={"last-event-id": "3"})
                assert (reply.status_code, reply.content) == (204, b"")
            async with opened(world, OF_JOB, after=3) as again:
                assert (await again.receive()).type == "end"

    asyncio.run(main())


def test_why_the_service_ends_a_stream(tmp_path):
    async def main():
        async with running(tmp_path, resync_interval_s=0.2) as world:
            world.add_job()
            async with opened(world, OF_JOB) as of_job, opened(world, after=0) as source:
                await of_job.events(1)
                await source.events(1)
                bring(world.store, JOB, JobStatus.CANCELLED)
                with world.store.begin() as tx:
                    tx.deletions.delete_job(JOB, now=datetime.now(UTC))
                closing = await of_job.receive()
                while closing.type == "events":
                    closing = await of_job.receive()
                assert (closing.type, closing.data["code"]) == ("close", "job_deleted")
                world.hub.publish([SERVICE_STOPS])
                closing = await source.receive()
                while closing.type in ("queue", "events"):
                    closing = await source.receive()
                assert closing.data == {
                    "type": "close",
                    "code": "service_restarts",
                    "message": "The service restarts.",
                }

    asyncio.run(main())


def test_a_client_that_reads_nothing_is_cut_off(tmp_path):
    async def main():
        async with running(tmp_path, limits=StreamLimits(ack_timeout_s=1.0)) as world:
            ref = world.add_job()
            client = sockets.socket()
            client.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", world.port))
            await loop.sock_sendall(client, f"GET {ALL} HTTP/1.1\r\nhost: 127.0.0.1:{world.port}\r\n\r\n".encode())
            assert (await loop.sock_recv(client, 12)).endswith(b"200")
            async with opened(world) as reader:
                for _ in range(40):
                    world.append(ref, 50, text="x" * 10_000)
                await reader.events(2000)
                async with asyncio.timeout(60):
                    while world.feed.num_streams > 1:
                        await asyncio.sleep(0.05)
            client.close()

    asyncio.run(main())


def test_a_long_stream_continues_over_another_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(server_sent_events, "MAX_REPLY_BYTES", 100_000)

    async def main():
        async with running(tmp_path) as world:
            world.append(world.add_job(), 100, text="x" * 5_000)
            seen: list[int] = []
            while len(seen) < 101:
                start = {"last_id": seen[-1]} if seen else {"after": 0}
                async with opened(world, OF_JOB, **start) as source:
                    message = await source.receive()
                    while message.type == "events" and len(seen) < 101:
                        seen += [event["seq"] for event in message.data["events"]]
                        message = await source.receive()
                    assert len(seen) == 101 or message.data["code"] == "reconnect"
            assert seen == list(range(1, 102))

    asyncio.run(main())


def test_a_client_that_leaves_is_forgotten(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            world.add_job()
            async with opened(world):
                assert world.feed.num_streams == 1
            async with asyncio.timeout(30):
                while world.feed.num_streams:
                    await asyncio.sleep(0.02)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "query", "last_id", "status", "code"),
    [
        (ALL, "after=2", None, 400, "seq_in_future"),
        (ALL, "", "2", 400, "seq_in_future"),
        (ALL, "", "1x", 400, "invalid_after"),
        (ALL, "after=-1", None, 422, "invalid_parameter"),
        (ALL, "rate=0", None, 422, "invalid_parameter"),
        (ALL, "rate=nan", None, 422, "invalid_parameter"),
        (ALL, "kind=nonsense", None, 422, "invalid_parameter"),
        (ALL, "befor=1", None, 422, "unknown_parameter"),
        (OF_JOB, "after=2", None, 400, "seq_in_future"),
        (OF_JOB.replace(JOB, "job-none"), "", None, 404, "job_not_found"),
        (OF_JOB.replace(JOB, "job-00000000000x"), "", None, 404, "job_not_found"),
    ],
)
def test_a_bad_request_is_refused_before_the_stream_begins(tmp_path, path, query, last_id, status, code):
    async def main():
        async with running(tmp_path) as world:
            world.add_job()
            world.add_job("job-00000000000x", owner="somebody else")
            async with httpx2.AsyncClient() as client:
                headers = {} if last_id is None else {"last-event-id": last_id}
                reply = await client.get(world.url(f"{path}?{query}"), headers=headers)
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)

    asyncio.run(main())


def test_the_messages_are_in_the_api_description(tmp_path):
    async def main():
        async with running(tmp_path) as world, httpx2.AsyncClient() as client:
            document = (await client.get(world.url("/openapi.json"))).json()
        for path in ("/api/training/events/stream", "/api/training/jobs/{job_id}/events/stream"):
            content = document["paths"][path]["get"]["responses"]["200"]["content"]
            assert list(content) == [server_sent_events.MEDIA_TYPE]
            schema = content[server_sent_events.MEDIA_TYPE]["schema"]
            names = {each["$ref"].rpartition("/")[2] for each in schema["oneOf"]}
            assert names == {
                "OpenMessage",
                "EventsMessage",
                "QueueMessage",
                "DeletedMessage",
                "EndMessage",
                "CloseMessage",
            }
            assert names <= document["components"]["schemas"].keys()

    asyncio.run(main())

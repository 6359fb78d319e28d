"""Following: every event once and in order, whatever happens to the socket."""

import asyncio
import json
import queue
from itertools import pairwise

import pytest

from ftlab import errors
from ftlab.client import AsyncClient
from ftlab.client.sockets import ACK_CHARS, ACK_EVENTS
from ftlab.status import JobStatus
from tests.unit.ftlab.fake_service import send_events, status_fault

NUM_STEPS = 6
"""Fifteen events: queued, running, six metrics, six log lines, completed."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("ftlab.client._sync.follow.POLL_S", 0.001)
    monkeypatch.setattr("ftlab.client._sync.follow.SILENCE_S", 0.2)
    monkeypatch.setattr("ftlab.client.endpoint.RetryPolicy.delay_s", lambda *_: 0.001)


@pytest.fixture
def job(fake):
    return fake.add_job(NUM_STEPS, JobStatus.COMPLETED)


def seqs(client, job, after=0):
    return [event.seq for event in client.jobs.follow(job.id, after)]


def all_of(job):
    return list(range(1, len(job.events) + 1))


def cut_after(count):
    """Sends so many events, then the connection breaks."""

    async def serve(websocket, job, after):
        await websocket.accept()
        await send_events(websocket, job.events[after : after + count])
        raise ConnectionResetError

    return serve


def closes_with(code):
    async def serve(websocket, job, after):
        await websocket.accept()
        await send_events(websocket, job.events[after : after + 1])
        await websocket.close(code)

    return serve


async def refuses(websocket, job, after):
    await websocket.close()


async def silent(websocket, job, after):
    await websocket.accept()
    await websocket.receive_text()


async def garbage(websocket, job, after):
    await websocket.accept()
    await websocket.send_text("{]")
    await websocket.receive_text()


async def sends_an_error(websocket, job, after):
    await websocket.accept()
    await websocket.send_text(json.dumps({"type": "error", "error": {"message": "No.", "code": "x"}}))
    await websocket.close(4400)


async def starts_over(websocket, job, after):
    """Sends everything again, whatever was asked for."""
    await websocket.accept()
    await send_events(websocket, job.events[:5])
    await websocket.close(1012)


async def leaves_a_gap(websocket, job, after):
    await websocket.accept()
    await send_events(websocket, job.events[after + 2 : after + 4])
    await websocket.close(1012)


async def pings_and_news(websocket, job, after):
    """Frames that bring nothing, one of a kind that is not known yet, and an empty batch."""
    await websocket.accept()
    for frame in ({"type": "ping"}, {"type": "weather"}, {"type": "events", "events": []}):
        await websocket.send_text(json.dumps(frame))
    await send_events(websocket, job.events[after:])
    await websocket.send_text(json.dumps({"type": "end", "status": job.status}))


def test_a_finished_job_is_replayed(fake, client, job):
    assert seqs(client, job) == all_of(job)
    assert fake.socket_afters == [0]
    assert fake.num_requests("GET", f"/api/training/jobs/{job.id}/events") == 0


def test_follow_begins_after_a_number(fake, client, job):
    assert seqs(client, job, after=10) == [11, 12, 13, 14, 15]
    assert fake.socket_afters == [10]


def test_a_name_will_do(client, job):
    assert len(list(client.jobs.follow("a job"))) == len(job.events)


@pytest.mark.parametrize(
    "fault",
    [
        cut_after(0),
        cut_after(3),
        closes_with(1012),
        closes_with(1000),
        closes_with(4408),
        refuses,
        silent,
        garbage,
        sends_an_error,
        starts_over,
        leaves_a_gap,
        pings_and_news,
    ],
    ids=lambda fault: getattr(fault, "__qualname__", None),
)
def test_no_event_twice_and_none_missing(fake, client, job, fault):
    fake.sockets = [fault, fault, fault]
    assert seqs(client, job) == all_of(job)


def test_a_cut_is_resumed_where_it_happened(fake, client):
    job = fake.add_job(NUM_STEPS)
    fake.sockets = [cut_after(3)]
    events = client.jobs.follow(job.id)
    seen = [next(events).seq for _ in range(8)]
    job.move(JobStatus.COMPLETED)
    seen += [event.seq for event in events]
    assert seen == all_of(job)
    assert all(before <= after for before, after in pairwise(fake.socket_afters))


def test_live_events_come_as_they_happen(fake, client):
    job = fake.add_job(1)

    async def live(websocket, job, after):
        await websocket.accept()
        await send_events(websocket, job.events[after:])
        await send_events(websocket, [job.add("notice", code="x", message="Hello.")])
        job.move(JobStatus.COMPLETED)
        await send_events(websocket, job.events[5:])
        await websocket.send_text(json.dumps({"type": "end", "status": "completed"}))

    fake.sockets = [live]
    assert seqs(client, job) == [1, 2, 3, 4, 5, 6]
    assert len(fake.socket_afters) == 1


def test_a_hundred_events_are_acknowledged_at_once(fake, client):
    job = fake.add_job(250)
    acks = []

    async def serve(websocket, job, after):
        await websocket.accept()
        for begin in range(0, 150, 50):
            await send_events(websocket, job.events[begin : begin + 50])
        acks.append(json.loads(await websocket.receive_text()))
        await send_events(websocket, job.events[150:200])
        acks.append(json.loads(await websocket.receive_text()))
        job.move(JobStatus.COMPLETED)
        await send_events(websocket, job.events[200:])
        await websocket.send_text(json.dumps({"type": "end", "status": "completed"}))

    fake.sockets = [serve]
    assert seqs(client, job) == all_of(job)
    assert acks == [{"type": "ack", "seq": 100}, {"type": "ack", "seq": 200}]


def test_a_frame_of_a_mebibyte_is_acknowledged(fake, client):
    job = fake.add_job(1)
    acks = []

    async def serve(websocket, job, after):
        await websocket.accept()
        await send_events(websocket, [*job.events, job.add("notice", code="x", message="y" * ACK_CHARS)])
        acks.append(json.loads(await websocket.receive_text())["seq"])
        job.move(JobStatus.COMPLETED)
        await send_events(websocket, job.events[acks[0] :])
        await websocket.send_text(json.dumps({"type": "end", "status": "completed"}))

    fake.sockets = [serve]
    assert seqs(client, job) == all_of(job)
    assert acks


def test_an_ack_waits_for_the_reader(fake, client):
    job = fake.add_job(ACK_EVENTS)
    acks = []

    async def serve(websocket, job, after):
        await websocket.accept()
        await send_events(websocket, job.events)
        acks.append(json.loads(await websocket.receive_text())["seq"])

    fake.sockets = [serve]
    events = client.jobs.follow(job.id)
    for _ in job.events:
        next(events)
    assert acks == []
    events.close()


def test_without_sockets_events_are_polled(fake, client):
    job = fake.add_job(NUM_STEPS)
    fake.sockets = [refuses] * 1000
    events = client.jobs.follow(job.id)
    seen = [next(events).seq for _ in job.events]
    job.move(JobStatus.COMPLETED)
    seen += [event.seq for event in events]
    assert seen == all_of(job)


def test_an_outage_in_between_is_survived(fake, client, job):
    fake.sockets = [cut_after(3)]
    fake.faults = [None, *[status_fault(503)] * 4]
    assert seqs(client, job) == all_of(job)


def test_an_unknown_job_is_an_error(client):
    with pytest.raises(errors.NotFoundError):
        list(client.jobs.follow("job-999"))


def test_a_reader_may_stop_early(fake, client, job):
    events = client.jobs.follow(job.id)
    next(events)
    events.close()
    assert seqs(client, job) == all_of(job)


def test_a_reader_who_stops_closes_the_socket_normally(fake, client):
    job = fake.add_job(NUM_STEPS)
    codes = queue.Queue()

    async def listens(websocket, job, after):
        await websocket.accept()
        await send_events(websocket, job.events)
        codes.put((await websocket.receive())["code"])

    async def stop_early():
        async with AsyncClient(fake.url) as async_client:
            async for _ in async_client.jobs.follow(job.id):
                break

    fake.sockets = [listens, listens]
    events = client.jobs.follow(job.id)
    next(events)
    events.close()
    asyncio.run(stop_early())
    assert [codes.get(timeout=10), codes.get(timeout=10)] == [1000, 1000]


def test_the_follower_of_a_deleted_job_ends_with_an_error(fake, client):
    job = fake.add_job(NUM_STEPS)

    async def deleted_meanwhile(socket, job, after):
        await socket.accept()
        await send_events(socket, job.events[after : after + 3])
        fake.jobs.clear()
        await socket.close(4404)

    fake.sockets = [deleted_meanwhile]
    seen = []
    with pytest.raises(errors.NotFoundError):
        seen.extend(event.seq for event in client.jobs.follow(job.id))
    assert fake.socket_afters == [0]

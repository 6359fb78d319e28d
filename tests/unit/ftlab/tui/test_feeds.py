"""The feeds against the fake service: real HTTP and WebSockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from starlette.responses import JSONResponse

from ftlab.client import AsyncClient, RetryPolicy
from ftlab.errors import AuthenticationError, ServiceUnavailableError
from ftlab.schemas.streams import DeletedMessage, EventsMessage, OpenMessage, StreamMessage
from ftlab.status import JobStatus
from ftlab.tui.detail_feed import DetailFeed, load, with_event
from ftlab.tui.job_feed import BUSY_S, FULL_EVERY_S, IDLE_S, WAITING_S, ServiceFeed
from ftlab.tui.snapshot import LinkState
from tests.support.clocks import Clock
from tests.unit.ftlab.fake_service import FakeService
from tests.unit.ftlab.tui.sample_jobs import NOW, detail_of, event, running

S = JobStatus


class ScriptedStream:
    """The stream of all jobs, as a test writes it."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[StreamMessage] = asyncio.Queue()

    def put(self, message: StreamMessage) -> None:
        self._messages.put_nowait(message)

    async def messages(self) -> AsyncIterator[StreamMessage]:
        while True:
            yield await self._messages.get()


def with_client(fake: FakeService, test: Callable) -> None:
    async def session():
        async with AsyncClient(fake.url, api_key="k", retry=RetryPolicy(max_retries=0)) as client:
            await test(client)

    asyncio.run(session())


def paths(fake: FakeService) -> list[str]:
    found = [path.removeprefix("/api/training/jobs") or "list" for _, path, _ in fake.requests]
    fake.requests.clear()
    return found


def test_the_first_poll_lists_everything_and_later_ones_only_what_can_change(fake):
    for _ in range(30):
        fake.add_job(1, S.COMPLETED)
    busy = fake.add_job(2)

    async def test(client):
        clock = Clock(NOW)
        feed = ServiceFeed(client, clock)
        snapshot = await feed.poll()
        assert snapshot.link.state is LinkState.LIVE
        assert len(snapshot.jobs) == 31
        assert [node.name for node in snapshot.nodes] == ["alpha"]
        assert snapshot.jobs[0].id == busy.id
        assert len(snapshot.trends[busy.id].losses) == 2
        assert feed.pause_s == BUSY_S
        paths(fake)
        for _ in range(10):  # the trends of ended jobs are fetched a few at a time, and once
            await feed.poll()
        paths(fake)
        await feed.poll()
        assert paths(fake) == ["list", "list"]
        busy.move(S.COMPLETED)
        ended = await feed.poll()
        assert ended.counts[S.COMPLETED] == 31
        assert feed.pause_s == IDLE_S
        clock.now += timedelta(seconds=FULL_EVERY_S)
        del fake.jobs[busy.id]
        assert len((await feed.poll()).jobs) == 30

    with_client(fake, test)


def test_with_a_stream_lists_are_fetched_after_news_only_and_a_deleted_job_leaves_at_once(fake, monkeypatch):
    monkeypatch.setattr("ftlab.tui.job_feed.BUSY_S", 0.05)
    monkeypatch.setattr("ftlab.tui.job_feed.NODES_EVERY_S", 0.05)
    job, other = fake.add_job(1, S.COMPLETED), fake.add_job(1)

    async def test(client):
        stream = ScriptedStream()
        monkeypatch.setattr(client.jobs, "follow_all", lambda rate: stream)
        snapshots = ServiceFeed(client, Clock(NOW)).snapshots()
        await anext(snapshots)
        stream.put(OpenMessage(position=7))
        await anext(snapshots)  # once more, for what was missed before the stream was open
        while paths(fake):
            await anext(snapshots)
        for _ in range(3):  # nothing happens: a job trains, and still nothing is listed
            assert len((await anext(snapshots)).jobs) == 2
        assert paths(fake) == []
        other.add("metrics", step=2, total_steps=10, values={"loss": 1.0})
        stream.put(EventsMessage(position=8, events=[]))
        while not (found := paths(fake)):
            snapshot = await anext(snapshots)
        assert found == ["list", "list", "/api/training/metrics"]
        assert len(snapshot.trends[other.id].losses) == 2
        del fake.jobs[job.id]
        stream.put(DeletedMessage(job_id=job.id))
        async with asyncio.timeout(5):
            while len((await anext(snapshots)).jobs) == 2:
                pass
        await snapshots.aclose()

    with_client(fake, test)


def test_a_job_that_vanished_leaves_the_table(fake):
    job = fake.add_job(1)

    async def test(client):
        feed = ServiceFeed(client, Clock(NOW))
        assert len((await feed.poll()).jobs) == 1
        del fake.jobs[job.id]
        assert (await feed.poll()).jobs == ()

    with_client(fake, test)


def test_a_pinned_job_is_listed_however_old_it_is(fake, monkeypatch):
    monkeypatch.setattr("ftlab.tui.job_feed.MAX_JOBS", 2)
    monkeypatch.setattr("ftlab.tui.job_feed.NEWEST", 2)
    jobs = [fake.add_job(1, S.COMPLETED) for _ in range(4)]

    async def test(client):
        snapshot = await ServiceFeed(client, Clock(NOW), jobs[0].id).poll()
        assert {job.id for job in snapshot.jobs} == {jobs[0].id, jobs[2].id, jobs[3].id}

    with_client(fake, test)


def test_an_outage_keeps_the_data_and_its_age(fake):
    fake.add_job(1)

    async def test(client):
        clock = Clock(NOW)
        feed = ServiceFeed(client, clock)
        await feed.poll()
        clock.now += timedelta(seconds=30)
        fake.faults = [lambda _: JSONResponse({}, 503)]
        lost = await feed.poll()
        assert lost.link.state is LinkState.LOST
        assert "not ready" in lost.link.problem
        assert lost.link.fetched_at == NOW
        assert len(lost.jobs) == 1
        assert feed.pause_s == WAITING_S
        again = await feed.poll()
        assert again.link.state is LinkState.LIVE
        assert again.link.fetched_at == clock.now

    with_client(fake, test)


def test_a_refused_key_is_a_state_of_its_own(fake):
    def refuse(_):
        error = AuthenticationError("The API key is not valid.")
        return JSONResponse(error.to_wire("req-1"), error.status)

    async def test(client):
        fake.faults = [refuse]
        snapshot = await ServiceFeed(client, Clock(NOW)).poll()
        assert snapshot.link.state is LinkState.REFUSED
        assert snapshot.link.problem == "The API key is not valid."

    with_client(fake, test)


def test_the_feed_wakes_when_something_was_changed(fake):
    async def test(client):
        feed = ServiceFeed(client, Clock(NOW))
        snapshots = feed.snapshots()
        await anext(snapshots)
        waiting = asyncio.ensure_future(anext(snapshots))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        feed.hurry()
        async with asyncio.timeout(5):
            await waiting

    with_client(fake, test)


def test_a_change_during_a_poll_is_fetched_after_it(fake, monkeypatch):
    for pause in ("BUSY_S", "WAITING_S", "IDLE_S", "NODES_EVERY_S"):
        monkeypatch.setattr(f"ftlab.tui.job_feed.{pause}", 3600.0)

    async def test(client):
        feed = ServiceFeed(client, Clock(NOW))
        fetch = feed._fetch

        async def changed(**options):
            feed.hurry()
            await fetch(**options)
            feed._fetch = fetch

        feed._fetch = changed
        snapshots = feed.snapshots()
        async with asyncio.timeout(30):
            await anext(snapshots)
            await anext(snapshots)
        await snapshots.aclose()

    with_client(fake, test)


def test_an_ended_job_is_loaded_once_and_not_followed(fake):
    job = fake.add_job(3, S.COMPLETED)

    async def test(client):
        details = [detail async for detail in DetailFeed(client, (await client.jobs.get(job.id))).details()]
        assert len(details) == 1
        assert not details[0].is_live
        assert set(details[0].series) >= {"loss"}
        assert details[0].checkpoints[0].name == "step-00000005"
        assert fake.socket_afters == []

    with_client(fake, test)


def test_a_running_job_is_followed_until_it_ends(fake):
    job = fake.add_job(2)

    async def test(client):
        record = await client.jobs.get(job.id)
        steps = []
        async for detail in DetailFeed(client, record).details():
            steps.append((detail.job.step, detail.job.status, detail.is_live))
            if len(steps) == 1:
                job.add("metrics", step=3, total_steps=10, values={"loss": 1.0})
                job.move(S.FAILED, "It broke.", "worker_crashed")
        assert steps[0] == (2, S.RUNNING, True)
        assert (3, S.RUNNING, True) in steps
        assert steps[-1] == (3, S.FAILED, False)
        assert fake.socket_afters == [record.last_seq]

    with_client(fake, test)


def test_an_outage_at_the_end_is_waited_out(fake, monkeypatch):
    monkeypatch.setattr("ftlab.tui.detail_feed.RETRY_S", 0.01)
    job, outages = fake.add_job(2), [ServiceUnavailableError("The service is not ready.")]

    async def away_once(client, job_id):
        found = await load(client, job_id)
        if found.job.status is S.FAILED and outages:
            raise outages.pop()
        return found

    monkeypatch.setattr("ftlab.tui.detail_feed.load", away_once)

    async def test(client):
        details = []
        async for detail in DetailFeed(client, await client.jobs.get(job.id)).details():
            details.append(detail)
            if len(details) == 1:
                job.move(S.FAILED, "It broke.", "worker_crashed")
        assert "not ready" in details[-2].problem
        assert (details[-1].problem, details[-1].is_live) == ("", False)

    with_client(fake, test)


def test_a_job_that_does_not_exist_says_so(fake):
    async def test(client):
        details = [detail async for detail in DetailFeed(client, running("job-404")).details()]
        assert "job-404" in details[0].problem
        assert not details[0].is_live

    with_client(fake, test)


def test_an_outage_while_loading_is_waited_out(fake, monkeypatch):
    monkeypatch.setattr("ftlab.tui.detail_feed.RETRY_S", 0.01)
    job = fake.add_job(1, S.COMPLETED)

    async def test(client):
        record = await client.jobs.get(job.id)
        fake.faults = [lambda _: JSONResponse({}, 503)]
        details = [detail async for detail in DetailFeed(client, record).details()]
        assert "not ready" in details[0].problem
        assert details[-1].problem == ""
        assert details[-1].series

    with_client(fake, test)


def test_load_raises_what_the_client_raises(fake):
    async def test(client):
        with pytest.raises(Exception, match="job-404"):
            await load(client, "job-404")

    with_client(fake, test)


def test_events_that_were_loaded_already_change_nothing():
    detail = detail_of(running())
    again = with_event(detail, event("job-run", 60, "checkpoint", step=100, name="step-00000100"))
    assert again.events == detail.events
    newer = with_event(detail, event("job-run", 61, "notice", code="x", message="Something to know."))
    assert len(newer.events) == len(detail.events) + 1
    assert newer.logs[-1].text == "Something to know."
    assert newer.job.last_seq == 61

"""Following all jobs: every event once, whatever happens to the stream."""

import asyncio
from itertools import islice

import pytest

from ftlab import errors
from ftlab.client import AsyncClient
from ftlab.client._sync.all_jobs import EventStream
from ftlab.client.server_sent import MessageReader
from ftlab.client.wire import Fault
from ftlab.schemas.streams import DeletedMessage, EventsMessage, OpenMessage, QueueMessage
from tests.unit.ftlab.cli_runs import Cli
from tests.unit.ftlab.conftest import QUICK

OTHER = "job-ba9876543210"


@pytest.fixture
def address(world) -> str:
    return str(world.url(""))


def lines(text: str) -> list:
    reader = MessageReader()
    return [reader.take(line) for line in text.split("\n")] + [reader.last_id]


def test_messages_are_read_line_by_line():
    text = 'retry: 5\nid: 7\nevent: open\ndata: {"type":"open",\ndata: "position":7}\n\n: ping\nid: 9\n\nevent: queue\n'
    *found, last_id = lines(text + 'data: {"type":"queue"}\n\nid: 12\nevent: queue')
    assert [each for each in found if each] == [OpenMessage(position=7), QueueMessage()]
    assert lines('event: deleted\ndata: {"type":"deleted","job_id":"job-1"}\n\n')[2] == DeletedMessage(job_id="job-1")
    assert last_id == "9"  # the last message is not complete


def test_a_later_service_may_say_more_and_must_not_say_nonsense():
    assert lines('event: news\ndata: {"type":"news"}\n\n')[:-1] == [None] * 4
    with pytest.raises(Fault):
        lines('event: open\ndata: {"type":"open"}\n\n')


def test_recorded_events_then_live_ones(world, client):
    first = world.add_job()
    stream = client.jobs.follow_all(after=0)
    events = iter(stream)
    assert next(events).seq == 1
    world.append(first, 2)
    world.append(world.add_job(OTHER), 1)
    found = sorted((event.job_id, event.seq) for event in islice(events, 4))
    assert found == [(first.id, 2), (first.id, 3), (OTHER, 1), (OTHER, 2)]
    assert stream.position == 5
    events.close()
    world.append(first, 1)
    assert next(iter(client.jobs.follow_all(after=stream.position))).seq == 4


def test_by_default_from_now_on_and_by_kind(world, client):
    ref = world.add_job()
    world.append(ref, 2)
    messages = client.jobs.follow_all(kinds="status", rate=50).messages()
    assert next(messages) == OpenMessage(position=3)
    world.append(ref, 2)
    world.finish(ref)
    found = []
    while len(found) < 2:
        message = next(messages)
        found += message.events if isinstance(message, EventsMessage) else []
    assert [(event.seq, event.payload.status) for event in found] == [(6, "cancelling"), (7, "cancelled")]
    messages.close()


def test_a_broken_stream_continues_where_it_was(world, client, monkeypatch):
    """Each connection brings one message with events; what comes between two of them is not lost."""
    monkeypatch.setattr("ftlab.client.endpoint.RetryPolicy.delay_s", lambda *_: 0.001)
    ref = world.add_job()
    real, opened = client.jobs._transport.stream, []

    def cut(request):
        opened.append(request.headers.get("last-event-id"))
        context = real(request)
        response = context.__enter__()
        iter_bytes = response.iter_bytes

        def few_bytes():
            got = b""
            for data in iter_bytes():
                got += data
                end = got.find(b"\n\n", got.find(b'"events"'))
                if b'"events"' in got and end >= 0:
                    yield got[: end + 2]
                    break
            context.__exit__(None, None, None)
            raise Fault("cut")

        response.iter_bytes = few_bytes
        return _Open(response)

    monkeypatch.setattr(client.jobs._transport, "stream", cut)
    events = iter(client.jobs.follow_all(after=0))
    seen = []
    for _ in range(5):
        seen.append(next(events).seq)
        world.append(ref, 1)
    assert seen == [1, 2, 3, 4, 5]
    assert opened == ["0", "1", "2", "3", "4"]


def test_line_breaks_of_unicode_are_a_part_of_a_text(world, client):
    world.append(world.add_job(), 1, text="a\u2028b\x85c")
    events = iter(client.jobs.follow_all(after=0))
    assert [next(events).seq, next(events).payload.text] == [1, "a\u2028b\x85c"]


class _Open:
    def __init__(self, response):
        self.response = response

    def __enter__(self):
        return self.response

    def __exit__(self, *_):
        return False


def test_a_position_of_another_database_is_an_error(world, client):
    world.add_job()
    with pytest.raises(errors.MalformedRequestError) as refused:
        next(iter(client.jobs.follow_all(after=99)))
    assert refused.value.code == "seq_in_future"


def test_async(world):
    ref = world.add_job()

    async def use():
        async with AsyncClient(world.url(""), retry=QUICK) as client:
            stream = client.jobs.follow_all(after=0)
            seen = []
            async for event in stream:
                seen.append(event.seq)
                if len(seen) == 3:
                    break
                await asyncio.to_thread(world.append, ref, 1)
            return seen, stream.position

    assert asyncio.run(use()) == ([1, 2, 3], 3)


def test_the_command_line_follows_all_jobs_until_it_is_interrupted(world, monkeypatch, capsys):
    ref = world.add_job()
    world.append(ref, 1, text="hello")
    world.finish(world.add_job(OTHER))
    cli = Cli(world.url(""), monkeypatch, capsys)
    original = EventStream.messages

    def until_read(self):
        for message in original(self):
            yield message
            if isinstance(message, EventsMessage) and message.position == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr(EventStream, "messages", until_read)
    run = cli("events", "--after", 0, "-k", "log", "-k", "status")
    assert run.code == 130
    assert [line.split()[:2] for line in run.lines] == [
        [ref.id, "1"],
        [ref.id, "2"],
        [OTHER, "1"],
        [OTHER, "2"],
        [OTHER, "3"],
    ]
    assert run.lines[1].endswith("hello")
    assert "ftlab events --after 5" in run.err

"""The WebSocket of all jobs, and what a client may ask for on every WebSocket."""

import asyncio
import contextlib
import time

import pytest
from websockets.exceptions import ConnectionClosed

from cluster.interfaces import QUEUE_CHANGED
from serve.streams.subscriptions import StreamLimits
from tests.unit.serve.streams.running import JOB, acknowledge, receive, running

OTHER = "job-ba9876543210"


def test_events_of_all_jobs_with_acks_by_position(tmp_path):
    async def main():
        async with running(tmp_path, limits=StreamLimits(window_events=3, ack_timeout_s=1.0)) as world:
            first, second = world.add_job(), world.add_job(OTHER)
            world.append(second, 1)
            world.append(first, 2)
            async with world.connect("/ws/training?after=1") as socket:
                assert await receive(socket) == {"type": "open", "position": 1}
                frame = await receive(socket)
                assert frame["position"] == 4
                assert [(event["job_id"], event["seq"]) for event in frame["events"]] == [
                    (OTHER, 1),
                    (OTHER, 2),
                    (JOB, 2),
                ]
                await acknowledge(socket, 2)
                frame = await receive(socket)
                assert [(event["job_id"], event["seq"]) for event in frame["events"]] == [(JOB, 3)]
                world.hub.publish([QUEUE_CHANGED])
                world.append(first, 5)
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        assert (await receive(socket))["type"] == "queue"
                assert (socket.close_code, "no ack" in socket.close_reason) == (4408, True)
            async with world.connect("/ws/training") as socket:
                assert await receive(socket) == {"type": "open", "position": 10}
                await acknowledge(socket, 11)
                assert (await receive(socket))["error"]["code"] == "seq_in_future"

    asyncio.run(main())


def test_kinds_and_rate_of_a_socket(tmp_path):
    async def main():
        async with running(tmp_path) as world:
            ref = world.add_job()
            async with world.connect(f"/ws/training/{JOB}?kind=status&kind=notice") as socket:
                assert [event["seq"] for event in (await receive(socket))["events"]] == [1]
                world.append(ref, 20)
                world.finish(ref)
                seqs = []
                while (frame := await receive(socket))["type"] == "events":
                    seqs += [event["seq"] for event in frame["events"]]
                assert (seqs, frame["type"]) == ([22, 23], "end")
            ref = world.add_job(OTHER)
            async with world.connect(f"/ws/training/{OTHER}?rate=5&after=1") as socket:
                started = time.monotonic()
                for _ in range(20):
                    world.append(ref, 1)
                    await asyncio.sleep(0.01)
                seqs, num_frames = [], 0
                while len(seqs) < 20:
                    num_frames += 1
                    seqs += [event["seq"] for event in (await receive(socket))["events"]]
                    await acknowledge(socket, seqs[-1])
                assert seqs == list(range(2, 22))
                assert num_frames <= 2 + 5 * (time.monotonic() - started)

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/ws/training", f"/ws/training/{JOB}"])
@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("after=2", "seq_in_future", "after"),
        ("after=x", "invalid_after", "after"),
        ("kind=nonsense", "invalid_parameter", "kind"),
        ("rate=0", "invalid_parameter", "rate"),
        ("rate=nan", "invalid_parameter", "rate"),
        ("rate=fast", "invalid_parameter", "rate"),
    ],
)
def test_a_bad_request_is_refused(tmp_path, path, query, code, param):
    async def main():
        async with running(tmp_path) as world:
            world.add_job()
            async with world.connect(f"{path}?{query}") as socket:
                error = (await receive(socket))["error"]
                await socket.wait_closed()
            assert (error["code"], error["param"], socket.close_code) == (code, param, 4400)

    asyncio.run(main())

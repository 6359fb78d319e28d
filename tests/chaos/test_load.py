"""More jobs, and more followers, than anybody should send."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest
from websockets.client import ClientProtocol
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from ftlab.errors import ConflictError, RateLimitError
from ftlab.schemas import Job
from ftlab.status import JobStatus
from serve.streams.subscriptions import StreamLimits
from serve.streams.websocket import TOO_SLOW
from tests.bench.memory import watch
from tests.bench.processes import answer, process, tell
from tests.chaos import parts
from tests.chaos.scene import Scene

NUM_THREADS = 8
NUM_ABOVE = 200
"""Submits above the quota; far more than jobs that leave the queue meanwhile."""
NUM_STARTED = 4
"""Jobs of the burst that are seen to start; the others are cancelled."""
NUM_SUBSCRIBERS = 500
WATCHED_S = 10.0
REPLICAS_MB = 300.0
"""What all replicas together may grow by."""
SLOW_STEP = {"gradient_accumulation_steps": 32, "logging_steps": 1}
EVICTED_S = 2 * StreamLimits().ack_timeout_s


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_a_burst_of_submits_is_accepted_and_started_in_order(scene: Scene) -> None:
    """More than the queue's quota allows: what is above gets 429, and everything else is there."""
    config = scene.config(max_steps=1)
    quota = scene.lab.settings.quota_queued_jobs
    assert quota is not None
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        answers = list(pool.map(lambda _: _submit(scene, config), range(quota + NUM_ABOVE)))
    accepted = [job for job in answers if job is not None]
    assert quota <= len(accepted) < quota + NUM_ABOVE

    with scene.lab.store.read() as tx:
        in_order = sorted((tx.jobs.get(job.id) for job in accepted), key=lambda record: record.queue_seq)
    for record in in_order[:NUM_STARTED]:
        assert scene.client.jobs.wait(record.id, timeout_s=300).status is JobStatus.COMPLETED
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        list(pool.map(lambda record: _cancel(scene, record.id), in_order[:NUM_STARTED:-1]))
    started = [scene.client.jobs.get(record.id) for record in in_order[: NUM_STARTED + 1]]
    times = [job.started_at for job in started if job.started_at is not None]
    assert len(times) >= NUM_STARTED
    assert times == sorted(times), "first come, first served"
    scene.own += [job.id for job in started]


@pytest.mark.chaos
def test_a_subscriber_that_never_reads_is_sent_away_and_harms_nobody(scene: Scene) -> None:
    window = StreamLimits().window_events
    job = scene.submit(max_steps=window + 200, training={"gradient_accumulation_steps": 1, "save_steps": window})
    scene.reach(job, window + 50, timeout_s=300)
    with _watched_replicas(scene, job), scene.follower(job):
        silent = _Silent(scene, job)
        scene.finish(job)
        time.sleep(EVICTED_S)

    assert silent.close_code() == TOO_SLOW


@pytest.mark.chaos
def test_five_hundred_subscribers_get_every_event(scene: Scene) -> None:
    job = scene.submit(max_steps=10_000, training=SLOW_STEP)
    scene.reach(job, 2)
    url = (
        f"ws://127.0.0.1:{scene.lab.settings.port}/ws/training/{job.id}?after={scene.client.jobs.get(job.id).last_seq}"
    )
    with _watched_replicas(scene, job), ExitStack() as stack:
        clients = stack.enter_context(process("tests.bench.socket_clients", url, str(NUM_SUBSCRIBERS), "ack"))
        assert answer(clients) == "open"
        tell(clients, "begin")
        time.sleep(WATCHED_S)
        tell(clients, "end")
        report = json.loads(answer(clients))

    assert report["num_events"] > 0
    assert (report["num_missing"], report["num_gaps"]) == (0, 0)


@contextmanager
def _watched_replicas(scene: Scene, job: Job) -> Iterator[None]:
    """Their memory stays bounded in the block."""
    with watch([process.pid for process in parts.replicas(scene.lab, job.id)]) as growth:
        yield
    assert growth.mb < REPLICAS_MB


def _submit(scene: Scene, config: dict[str, object]) -> Job | None:
    try:
        job = scene.client.jobs.create(config)
    except RateLimitError:
        return None
    scene.submitted.append(job.id)
    return job


def _cancel(scene: Scene, job_id: str) -> None:
    with suppress(ConflictError):  # it ended meanwhile
        scene.client.jobs.cancel(job_id)


class _Silent:
    """A client that opens the live stream and never reads from it again, until the very end."""

    def __init__(self, scene: Scene, job: Job) -> None:
        uri = parse_uri(f"ws://127.0.0.1:{scene.lab.settings.port}/ws/training/{job.id}")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect((uri.host, uri.port))
        self._protocol = ClientProtocol(uri, max_size=None)
        self._protocol.send_request(self._protocol.connect())
        self._socket.sendall(b"".join(self._protocol.data_to_send()))
        while self._protocol.state is State.CONNECTING:
            self._protocol.receive_data(self._socket.recv(256))
            for event in self._protocol.events_received():
                assert isinstance(event, Response)

    def close_code(self) -> int | None:
        """Read what has come by now, to the end."""
        self._socket.settimeout(30)
        while data := self._socket.recv(65536):
            self._protocol.receive_data(data)
            self._protocol.events_received()
            if self._protocol.close_rcvd is not None:
                break
        self._socket.close()
        return self._protocol.close_rcvd.code if self._protocol.close_rcvd else None

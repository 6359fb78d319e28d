"""What a service says of its jobs while they run: live streams through Serve's HTTP front, and signed notifications.

Nothing on the way holds messages back, and nothing is lost when the notifier is killed. The job learns by GRPO; a chain
trains by DPO, a sweep by KTO, and the command line a reward model.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ftlab import Client
from ftlab.schemas import Dataset, Job
from tests.e2e.conftest import CORE_PRICE, REWARD_FILE
from tests.support.clocks import wait_for
from tests.support.lab import Lab, tiny_job
from tests.support.method_jobs import ANSWERS, assert_trained, upload
from tests.unit.tracking.notifications.receiver import SECRET, receiving

PATIENT_S = 300.0
NUM_FOLLOWERS = 20
DELAY_S = 15.0
"""More than any event may take on a busy machine; a proxy that buffers holds them until the stream ends."""

GRPO = {
    "type": "grpo",
    "max_length": 96,
    "max_completion_length": 16,
    "rewards": [
        {"type": "numeric_answer"},
        {"type": "length", "min_length": 1, "max_length": 40, "weight": 0.5},
        {"type": "python_file", "path": str(REWARD_FILE)},
    ],
}


@dataclass
class Received:
    """What a stream brought so far, with the time of its arrival."""

    messages: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    is_open: threading.Event = field(default_factory=threading.Event)

    @property
    def events(self) -> list[tuple[datetime, dict[str, Any]]]:
        return [(at, event) for at, message in self.messages for event in message.get("events", ())]


@pytest.fixture
def all_jobs(lab: Lab) -> Iterator[Received]:
    """The stream of all jobs, read by a thread that ends with the test."""
    received, is_over = Received(), threading.Event()

    def read() -> None:
        url = f"{lab.settings.server_url}/api/training/events/stream"
        with httpx2.Client(timeout=60) as client, client.stream("GET", url) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    received.messages.append((datetime.now(UTC), json.loads(line.removeprefix("data: "))))
                    received.is_open.set()
                elif line.startswith(":"):
                    received.comments.append(line)
                if is_over.is_set():
                    return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert received.is_open.wait(30)
    yield received
    is_over.set()


@pytest.fixture
def answers(client: Client, tmp_path: Path) -> Dataset:
    return upload(client, tmp_path / "answers.jsonl", ANSWERS)


def test_streams_and_a_receiver_get_the_life_of_a_job_that_learns_from_rewards_although_the_notifier_is_killed(
    lab: Lab, client: Client, answers: Dataset, all_jobs: Received, tmp_path: Path
) -> None:
    config = tiny_job(answers, name="notified", max_steps=4, method=GRPO, eval_dataset=answers.id)
    with receiving() as receiver:
        client.notifications.save_channel("e2e", receiver.url, secret=SECRET, jobs=["notified"])
        try:
            assert client.notifications.test_channel("e2e").last_error is None
            job = client.jobs.create(config)
            with ThreadPoolExecutor(NUM_FOLLOWERS) as pool:
                sockets = [pool.submit(_seqs_of, client, job.id) for _ in range(NUM_FOLLOWERS)]
                wait_for(lambda: "job.submitted" in receiver.kinds, 30, "the first notification")
                [notifier] = lab.find_by_word("cluster.events.notifier")
                notifier.kill()
                done = client.jobs.wait(job.id, timeout_s=PATIENT_S)
            wait_for(lambda: "job.completed" in receiver.kinds, 60, "the last notification")
        finally:
            client.notifications.delete_channel("e2e")
    by_id = {document["data"]["id"]: document["type"] for document in receiver.received}
    assert list(by_id.values()) == ["channel.test", "job.submitted", "job.started", "job.completed"]
    kinds = [item.kind for item in client.notifications.list(job="notified")]
    assert kinds == ["completed", "started", "submitted"]
    assert all(each.result() == list(range(1, done.last_seq + 1)) for each in sockets)
    _check_stream(client, done, all_jobs)
    _check_cost(client, done)
    assert_trained(client, done, {"eval_reward", "rewards/python_file/mean"})
    assert client.jobs.download_model(done.id, tmp_path / "model.zip").stat().st_size > 0


def _check_stream(client: Client, done: Job, all_jobs: Received) -> None:
    """Each event of the job arrived once and without delay, and is replayed to a client that reconnects."""
    deadline = time.monotonic() + 30
    while len(mine := [each for each in all_jobs.events if each[1]["job_id"] == done.id]) < done.last_seq:
        assert time.monotonic() < deadline, len(mine)
        time.sleep(0.1)

    assert [event["seq"] for _, event in mine] == list(range(1, done.last_seq + 1))
    statuses = [event["data"]["status"] for _, event in mine if event["kind"] == "status"]
    assert (statuses[0], statuses[-1]) == ("queued", "completed")
    late = [at - datetime.fromisoformat(event["at"]) for at, event in mine if event["kind"] in ("status", "metrics")]
    assert max(late).total_seconds() < DELAY_S
    assert any(message["type"] == "queue" for _, message in all_jobs.messages)

    again = []
    for event in client.jobs.follow_all(after=all_jobs.messages[0][1]["position"]):
        if event.job_id == done.id:
            again.append(event.seq)
        if again[-1:] == [done.last_seq]:
            break
    assert again == [event["seq"] for _, event in mine]


def _check_cost(client: Client, done: Job) -> None:
    wait_for(lambda: bool(client.costs.of_job(done.id)), 30, "the cost of the attempt")
    [record] = client.costs.of_job(done.id)
    cost = client.jobs.get(done.id).cost
    assert cost is not None
    assert (cost.amount, cost.currency, cost.is_final) == (record.amount, "EUR", True)
    [devices] = record.devices
    seconds = (record.held_until - record.held_from).total_seconds()
    assert float(devices.quantity) * seconds * CORE_PRICE / 3600 == pytest.approx(float(cost.amount), abs=1e-6)
    assert record.job_id in {each.key for each in client.costs.report("job").data}


def _seqs_of(client: Client, job_id: str) -> list[int]:
    """What a WebSocket of the job brings until its end."""
    return [event.seq for event in client.jobs.follow(job_id)]


def test_metrics_of_the_service(lab: Lab, client: Client, all_jobs: Received) -> None:
    text = httpx2.get(f"{lab.settings.server_url}/metrics").text
    assert re.search(r'^ftlab_attempts_ended_total\{reason="ok"\} [1-9]', text, re.MULTILINE)
    assert re.search(r'^ftlab_streams\{kind="server_sent_events"\} [1-9]', text, re.MULTILINE)
    created = 'ftlab_http_requests_total{method="POST",route="/api/training/jobs",status="201"}'
    assert re.search(rf"^{re.escape(created)} [1-9]", text, re.MULTILINE)
    assert "ftlab_scheduler_up 1.0" in text


@pytest.mark.slow
def test_a_silent_stream_stays_open(all_jobs: Received) -> None:
    deadline = time.monotonic() + 90
    while len(all_jobs.comments) < 2:
        assert time.monotonic() < deadline, all_jobs
        time.sleep(0.5)

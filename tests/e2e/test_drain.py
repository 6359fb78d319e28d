"""Stopping the service loses no step, and leaves nothing behind."""

import asyncio
import json
import signal
import threading
import time

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from ftlab import Client
from ftlab.cli.service_file import read_state
from ftlab.schemas import Dataset, Job
from ftlab.status import JobStatus, ReasonCode
from tests.support.clocks import wait_for
from tests.support.lab import Lab, at_step, follow_until, tiny_job

pytestmark = pytest.mark.slow


def endless_job(dataset: Dataset) -> dict[str, object]:
    # It saves at the very end only, so that every checkpoint on the way is one of a stop.
    training = {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 8, "save_steps": 100_000}
    return tiny_job(dataset, max_steps=100_000, training=training)


@pytest.fixture
def running(client: Client, dataset: Dataset) -> Job:
    job = client.jobs.create(endless_job(dataset))
    follow_until(client, job, at_step(4))
    return job


def is_ready(lab: Lab) -> bool:
    assert lab.process is not None
    state = read_state(lab.settings)
    return state is not None and (state.pid, state.state) == (lab.process.pid, "ready")


class Follower(threading.Thread):
    """A client of the live stream that does not come back; it keeps the code with which it was sent away."""

    def __init__(self, lab: Lab, job: Job) -> None:
        super().__init__(daemon=True)
        self._url = f"ws://{lab.settings.host}:{lab.settings.port}/ws/training/{job.id}?after={job.last_seq}"
        self.statuses: list[str] = []
        self.close_code: int | None = None
        self.start()

    def run(self) -> None:
        asyncio.run(self._follow())

    async def _follow(self) -> None:
        async with connect(self._url) as socket:
            try:
                while True:
                    frame = json.loads(await socket.recv())
                    events = frame.get("events", [])
                    self.statuses += [event["data"]["status"] for event in events if event["kind"] == "status"]
                    if events:
                        await socket.send(json.dumps({"type": "ack", "seq": events[-1]["seq"]}))
            except ConnectionClosed as closed:
                self.close_code = closed.rcvd.code if closed.rcvd else 1006


def test_a_stop_saves_what_runs_and_queues_it_again(lab: Lab, client: Client, dataset: Dataset, running: Job) -> None:
    waiting = [client.jobs.create(tiny_job(dataset, max_steps=2)) for _ in range(2)]
    follower = Follower(lab, client.jobs.get(running.id))
    processes = lab.processes()

    assert lab.stop() == 0

    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive
    follower.join(10)
    assert follower.close_code == 1012
    assert follower.statuses in (["pausing"], ["pausing", "queued"]), "the last may come after the socket is closed"
    [attempt] = lab.attempts(running.id)
    assert attempt.reason is ReasonCode.SERVICE_RESTARTED
    with lab.store.read() as tx:
        job = tx.jobs.get(running.id)
        [saved] = tx.checkpoints.of_job(running.id)
        queue = [queued.id for queued in tx.jobs.queued()]
    assert (job.status, job.retries_used, saved.step) == (JobStatus.QUEUED, 0, job.step), "not a step is lost"
    assert f"its checkpoint of step {saved.step} was saved" in (attempt.message or "")
    assert queue == [running.id, *(each.id for each in waiting)]

    lab.start()

    resumed = follow_until(client, running, lambda event: event.data.get("code") == "resuming")
    assert resumed.data["step"] == saved.step
    client.jobs.cancel(running.id)
    for each in waiting:
        assert client.jobs.wait(each.id, timeout_s=120).status is JobStatus.COMPLETED


@pytest.mark.parametrize("hurry", ["second signal", "SIGQUIT"])
def test_a_stop_in_a_hurry_does_not_wait_for_a_hung_run(lab: Lab, client: Client, running: Job, hurry: str) -> None:
    assert lab.process is not None
    processes = lab.processes()
    psutil.Process(lab.pids(running.id)[0]).send_signal(signal.SIGSTOP)
    asked_at = time.monotonic()
    if hurry == "SIGQUIT":
        lab.process.send_signal(signal.SIGQUIT)
    else:
        lab.process.send_signal(signal.SIGTERM)
        wait_for(lambda: client.jobs.get(running.id).status is JobStatus.PAUSING, 30, "the job to be asked")
        lab.process.send_signal(signal.SIGINT)
    assert lab.process.wait(60) == 0
    assert time.monotonic() - asked_at < lab.settings.stop_grace_s + 40
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive

    lab.start()

    follow_until(client, running, lambda event: event.kind == "status" and event.attempt == 2)
    client.jobs.cancel(running.id)
    assert client.jobs.wait(running.id, timeout_s=120, raise_on_failure=False).status is JobStatus.CANCELLED


def test_what_a_killed_supervisor_left_is_ended_by_the_next_one(lab: Lab, client: Client, running: Job) -> None:
    assert lab.process is not None
    processes = lab.processes()
    worker = psutil.Process(lab.pids(running.id)[0])
    worker.send_signal(signal.SIGSTOP)
    unfinished = lab.settings.home / "jobs" / running.id / "checkpoints" / ".tmp-1"
    unfinished.mkdir(parents=True, exist_ok=True)
    lab.process.kill()
    lab.process.wait()
    assert worker.is_running()

    lab.start()  # it may be the old API that says it is ready
    wait_for(lambda: is_ready(lab), 180, "the new service")

    assert not [process for process in processes if process.is_running()]
    assert not unfinished.exists()
    follow_until(client, running, lambda event: event.kind == "status" and event.attempt == 2)
    assert lab.attempts(running.id)[0].reason is ReasonCode.SERVICE_RESTARTED
    client.jobs.cancel(running.id)
    assert client.jobs.wait(running.id, timeout_s=120, raise_on_failure=False).status is JobStatus.CANCELLED

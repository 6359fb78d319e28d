"""A job of higher priority takes the devices of one that runs, which comes back and loses no step."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ftlab.status import JobStatus, ReasonCode
from tests.support.lab import Lab, at_step, follow_until, rows, tiny_job

pytestmark = pytest.mark.slow

PATIENT_S = 600.0
NUM_STEPS = 300
"""Enough to be in the middle of when the other job comes, and to end soon after that."""


@pytest.fixture
def hasty_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("hasty"), preemption_min_run_s=1, api_replicas=1, ingress="python")
    lab.start()
    yield lab
    lab.stop()


@pytest.mark.timeout(1800)
def test_a_run_makes_room_and_goes_on_where_it_was(hasty_lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text(rows())
    # It saves nothing on its way: what it goes on from is what it has saved to make room.
    training = {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 8, "save_steps": 10 * NUM_STEPS}
    with hasty_lab.client() as client:
        dataset = client.datasets.upload(file)
        low = client.jobs.create(tiny_job(dataset, max_steps=NUM_STEPS, priority=10, training=training))
        follow_until(client, low, at_step(12))

        high = client.jobs.create(tiny_job(dataset, max_steps=3, priority=90))
        first = client.jobs.wait(high.id, timeout_s=PATIENT_S)
        done = client.jobs.wait(low.id, timeout_s=PATIENT_S)

        statuses = list(client.jobs.events(low.id, kinds="status"))
        assert [event.data["status"] for event in statuses] == [
            *("queued", "pending", "initializing", "running"),
            *("pausing", "queued"),
            *("pending", "initializing", "running", "completed"),
        ]
        assert high.id in statuses[4].data["message"]
        assert "preempted" in statuses[5].data["message"]
        steps = [point.step for point in client.jobs.metrics(low.id, ["loss"])]
    made_room, came_back = hasty_lab.attempts(low.id)
    assert (made_room.reason, came_back.reason) == (ReasonCode.PREEMPTED, ReasonCode.OK)
    assert came_back.resumed_from_step is not None
    assert 12 <= came_back.resumed_from_step < NUM_STEPS
    assert steps == list(range(1, NUM_STEPS + 1)), "each step once, and none repeated or left out"
    assert (done.status, done.step, done.retries_used) == (JobStatus.COMPLETED, NUM_STEPS, 0)
    assert first.started_at is not None
    assert first.finished_at is not None
    assert made_room.ended_at is not None
    assert made_room.ended_at <= first.started_at
    assert first.finished_at <= statuses[-2].at, "it runs again when the other has ended"

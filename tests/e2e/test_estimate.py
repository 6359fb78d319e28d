"""The estimate of a whole service: rows from the data worker, devices from the coordinator, speed from a past job."""

import json
from pathlib import Path

import pytest

from ftlab import Client, NotFoundError
from tests.support.lab import TINY

ROW = {"messages": [{"role": "user", "content": "Where is job 7?"}, {"role": "assistant", "content": "In the queue."}]}


@pytest.mark.slow
def test_an_estimate_comes_true(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text((json.dumps(ROW) + "\n") * 600)
    dataset = client.datasets.upload(file)
    training = {"per_device_train_batch_size": 8, "num_train_epochs": 1.0, "save_steps": 1000}
    training |= {"learning_rate": "auto", "gradient_checkpointing": "auto"}
    config = {"model": TINY, "dataset": dataset.id, "method": {"max_length": "auto"}, "training": training}
    before = client.jobs.estimate(config)
    assert set(before.auto) == {"method.max_length", "training.learning_rate", "training.gradient_checkpointing"}
    assert before.auto["method.max_length"].reason.endswith("none is longer (from a sample of 512 rows)")
    assert before.auto["training.gradient_checkpointing"].value is False
    assert before.rows is not None
    assert not before.rows.is_exact
    assert (before.steps, before.time_s, before.devices[0].device, before.devices[0].fits) == (75, None, "CPU", "fits")
    job = client.jobs.wait(client.jobs.create(config).id, timeout_s=300)
    assert job.auto == before.auto
    assert (job.resolved_config or {})["method"]["max_length"] == before.auto["method.max_length"].value
    notices = [event.data for event in client.jobs.events(job.id, kinds="notice")]
    shown = [notice["message"] for notice in notices if notice["code"] == "auto_resolved"]
    assert job.auto["method.max_length"].reason in shown[0]
    assert len(shown) == 3
    after = client.jobs.estimate(config)
    assert after.rows is not None
    assert after.rows.is_exact
    assert (after.steps, after.tokens) == (before.steps, before.tokens)
    assert job.step == after.steps
    assert (after.measured_job_id, (after.time_s or 0) > 0) == (job.id, True)
    # What the next job should take stays beside what it takes.
    again = client.jobs.wait(client.jobs.create(config).id, timeout_s=300)
    assert again.estimated_time_s == pytest.approx(after.time_s)
    assert job.estimated_time_s is None
    [checkpoint] = client.jobs.checkpoints(job.id)
    assert checkpoint.size_bytes <= (after.checkpoint_bytes or 0)
    # The coordinator's and the worker's errors come through Ray as what they are.
    with pytest.raises(NotFoundError):
        client.jobs.estimate(config | {"dataset": "none"})

"""A machine that is about to be taken away: what runs on it saves in time."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.machine.environment import PREEMPTION_WATCHER, ray_environment
from ftlab.schemas import Dataset
from tests.support.lab import Lab, at_step, follow_until, rows, tiny_job

pytestmark = pytest.mark.slow

DRAIN = """
import ray, subprocess, sys
ray.init(log_to_driver=False)
node = ray.get_runtime_context().get_node_id()
subprocess.run(
    [sys.argv[1], "drain-node", "--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION",
     "--reason-message", "a test", "--deadline-remaining-seconds", "3600"],
    check=True,
)
"""


class WatchingLab(Lab):
    def environment(self) -> dict[str, str]:
        return super().environment() | {PREEMPTION_WATCHER: "1"}


@pytest.fixture
def watching_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchingLab]:
    lab = WatchingLab(tmp_path_factory.mktemp("watching"), standby=False, api_replicas=1, ingress="python")
    lab.start()
    yield lab
    lab.stop()


def test_a_notice_of_ray_has_the_run_save_at_once(watching_lab: WatchingLab, tmp_path: Path) -> None:
    lab = watching_lab
    file = tmp_path / "sums.jsonl"
    file.write_text(rows())
    with lab.client() as client:
        dataset: Dataset = client.datasets.upload(file)
        training = {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 8, "save_steps": 100_000}
        job = client.jobs.create(tiny_job(dataset, max_steps=100_000, training=training))
        follow_until(client, job, at_step(3))

        ray = str(Path(sys.executable).with_name("ray"))
        environment = lab.environment() | ray_environment(lab.settings)
        subprocess.run([sys.executable, "-c", DRAIN, ray], env=environment, check=True, timeout=120)

        notice = follow_until(client, job, lambda event: event.data.get("code") == "node_drains")
        saved = follow_until(client, job, lambda event: event.kind == "checkpoint")
        assert saved.seq > notice.seq
        follow_until(client, job, at_step(saved.data["step"] + 3))  # it trains on
        [attempt] = lab.attempts(job.id)
        assert attempt.ended_at is None
        client.jobs.cancel(job.id)
        client.jobs.wait(job.id, timeout_s=60, raise_on_failure=False)

"""GRPO through the whole service. A chain trains by DPO, a sweep by KTO, and the command line a reward model."""

from pathlib import Path

from ftlab import Client
from tests.e2e.conftest import REWARD_FILE
from tests.support.lab import tiny_job
from tests.support.method_jobs import assert_trained, lines

ANSWERS = [{"prompt": f"Add {number} and 1.", "completion": str(number + 1)} for number in range(8)]
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


def test_a_job_learns_from_rewards(client: Client, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(lines(ANSWERS), "utf-8")
    dataset = client.datasets.upload(tmp_path / "rows.jsonl")
    config = tiny_job(dataset, max_steps=4, method=GRPO, eval_dataset=dataset.id)

    done = client.jobs.wait(client.jobs.create(config).id, timeout_s=180)

    assert_trained(client, done, {"eval_reward", "rewards/python_file/mean"})
    assert client.jobs.download_model(done.id, tmp_path / "model.zip").stat().st_size > 0

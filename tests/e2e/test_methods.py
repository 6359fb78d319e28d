"""The training methods other than supervised fine-tuning, through the whole service."""

import json
from pathlib import Path
from typing import Any

import pytest

from ftlab import Client
from ftlab.schemas import Dataset, EventKind
from ftlab.status import JobStatus
from tests.e2e.conftest import REWARD_FILE
from tests.support.lab import tiny_job

QUESTION = "Where is the queue?"
RATED = [{"prompt": QUESTION, "completion": f"On page {number}.", "label": number % 2 == 0} for number in range(12)]
PAIRS = [{"prompt": QUESTION, "chosen": f"On page {number}.", "rejected": "No idea."} for number in range(12)]
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
CASES = [
    pytest.param(RATED, {"type": "kto", "max_length": 64}, {"eval_rewards/margins", "eval_kl"}, id="kto"),
    pytest.param(PAIRS, {"type": "reward", "max_length": 64}, {"eval_accuracy", "eval_margin"}, id="reward"),
    pytest.param(ANSWERS, GRPO, {"eval_reward", "rewards/python_file/mean"}, id="grpo"),
]


@pytest.fixture
def upload(client: Client, tmp_path: Path) -> Any:
    def upload(rows: list[dict[str, Any]]) -> Dataset:
        file = tmp_path / "rows.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        return client.datasets.upload(file)

    return upload


@pytest.mark.parametrize(("rows", "method", "series"), CASES)
def test_a_job_trains_by_its_method_and_its_model_is_what_was_measured(
    client: Client, upload: Any, tmp_path: Path, rows: list[dict[str, Any]], method: dict[str, Any], series: set[str]
) -> None:
    dataset = upload(rows)
    config = tiny_job(dataset, max_steps=4, method=method, eval_dataset=dataset.id)

    done = client.jobs.wait(client.jobs.create(config).id, timeout_s=180)

    assert done.status is JobStatus.COMPLETED, done.message
    points = {point.name for point in client.jobs.metrics(done.id) if point.step == 4}
    assert series | {"loss", "eval_loss"} <= points
    notices = {event.data["code"] for event in client.jobs.events(done.id, kinds=EventKind.NOTICE)}
    assert not {"record_differs", "final_eval_differs", "final_eval_failed"} & notices
    assert client.jobs.download_model(done.id, tmp_path / "model.zip").stat().st_size > 0

"""Rows and settings of training methods other than supervised fine-tuning, and what holds of a job that used them."""

import json
from pathlib import Path
from typing import Any

from ftlab import Client
from ftlab.schemas import Dataset, EventKind, Job
from ftlab.status import JobStatus

QUESTION = "Where is the queue?"
RATED = [{"prompt": QUESTION, "completion": f"On page {number}.", "label": number % 2 == 0} for number in range(12)]
PAIRS = [{"prompt": QUESTION, "chosen": f"On page {number}.", "rejected": "No idea."} for number in range(12)]
ANSWERS = [{"prompt": f"Add {number} and 1.", "completion": str(number + 1)} for number in range(8)]
KTO, REWARD = {"type": "kto", "max_length": 64}, {"type": "reward", "max_length": 64}


def lines(rows: list[dict[str, Any]]) -> str:
    """The rows as JSONL."""
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def upload(client: Client, file: Path, rows: list[dict[str, Any]]) -> Dataset:
    """Write the rows into a file, and upload it."""
    file.write_text(lines(rows), "utf-8")
    return client.datasets.upload(file)


def assert_trained(client: Client, done: Job, series: set[str]) -> None:
    """The job has completed with these series at its last step, and its model is what was measured."""
    assert done.status is JobStatus.COMPLETED, done.message
    points = {point.name for point in client.jobs.metrics(done.id) if point.step == done.total_steps}
    assert series | {"loss", "eval_loss"} <= points
    notices = {event.data["code"] for event in client.jobs.events(done.id, kinds=EventKind.NOTICE)}
    assert not {"record_differs", "final_eval_differs", "final_eval_failed"} & notices

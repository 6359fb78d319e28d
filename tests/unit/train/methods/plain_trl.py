"""What the scripts of a TRL user have in common, to which the methods are compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer, set_seed

from tests.unit.train.runs import TRAINING, Job
from train.data.rows.canonical import CanonicalFile

TOLERANCE = 1e-6


def arguments(job: Job, steps: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a plain trainer with the settings of a job whose `training` differs from the usual by `steps`."""
    training = TRAINING | steps
    names = ("per_device_train_batch_size", "max_steps", "learning_rate", "seed")
    return {
        "output_dir": str(job.folder.with_name("plain")),
        **{name: training[name] for name in names},
        "lr_scheduler_type": "cosine",
        "logging_steps": 1,
        "save_strategy": "no",
        "bf16": False,
        "use_cpu": True,
        "activation_checkpointing": False,
        "report_to": "none",
    }


def begin() -> None:
    """Set the threads and the random numbers as a job does."""
    torch.set_num_threads(1)
    set_seed(TRAINING["seed"])


def conversations(file: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The messages below each of `names` of every row of a file."""
    with CanonicalFile.open(file) as rows:
        return [{name: [_message(each) for each in row[name]] for name in names} for _, row in rows.rows()]


def _message(message: dict[str, Any]) -> dict[str, Any]:
    return {"role": message["role"], "content": message["content"]}


def series_of(trainer: Trainer) -> dict[str, dict[int, float]]:
    """The values that the trainer logged with a loss, by name and step."""
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    names = {name for entry in logged for name in entry}
    return {name: {entry["step"]: entry[name] for entry in logged if name in entry} for name in names}


def base_model(job: Job) -> Any:
    return AutoModelForCausalLM.from_pretrained(job.models / "org--tiny", dtype=torch.float32)


def assert_close(ours: dict[int, float], theirs: dict[int, float], tolerance: float = TOLERANCE) -> None:
    assert ours.keys() == theirs.keys()
    assert len(set(ours.values())) > 1, "nothing was learned"
    for step, loss in ours.items():
        assert loss == pytest.approx(theirs[step], rel=tolerance, abs=tolerance)

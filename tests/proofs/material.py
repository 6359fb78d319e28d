"""What a proof is made of: a model, rows to train and to evaluate on, and what was found."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from tests.support.tiny_models import make_tiny_model
from tests.unit.train.runs import Job
from train.data.convert import convert

MODEL = "proofs/model"
NUM_ROWS, NUM_EVAL_ROWS = 24, 9
"""An odd number of rows to evaluate, so that batches and workers do not divide them evenly."""
TOLERANCE = 1e-5
"""Difference between two losses, relative or absolute, that sums of float32 in another order can make."""
WORDS = [
    "queue",
    "job",
    "device",
    "checkpoint",
    "weight",
    "step",
    "pause",
    "resume",
    "adapter",
    "loss",
    "model",
    "worker",
    "row",
    "token",
    "batch",
    "schedule",
]


@dataclass(frozen=True)
class Finding:
    """The largest difference between numbers that must be equal."""

    claim: str
    difference: float
    tolerance: float
    detail: str
    """What was compared, in one sentence."""

    @property
    def holds(self) -> bool:
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class Material:
    """A model and rows. Each `job` trains the same adapter on them, in a folder of its own."""

    folder: Path
    train_file: Path
    """JSONL, as a user uploads it."""
    eval_file: Path
    max_length: int

    @classmethod
    def make(
        cls, folder: Path, model: Path | None = None, rows: Path | None = None, max_length: int = 64
    ) -> "Material":
        """Take a model folder and a JSONL file of the user; without them, a tiny random Llama and made-up rows.

        The last rows of the file are those to evaluate on, a quarter of it, at most nine.
        """
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / "models" / MODEL.replace("/", "--")
        if model is None:
            make_tiny_model(place, scale=2.0)
        else:
            place.parent.mkdir()
            place.symlink_to(model.absolute(), target_is_directory=True)
        lines = made_up_rows() if rows is None else [line for line in rows.read_text("utf-8").splitlines() if line]
        num_eval = min(NUM_EVAL_ROWS, max(1, len(lines) // 4))
        material = cls(folder, folder / "train.jsonl", folder / "eval.jsonl", max_length)
        for file, part in ((material.train_file, lines[:-num_eval]), (material.eval_file, lines[-num_eval:])):
            file.write_text("\n".join(part) + "\n", "utf-8")
            convert(file, file.with_suffix(".arrow"), file.name)
        return material

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def model(self) -> Path:
        return self.models / MODEL.replace("/", "--")

    @property
    def train_rows(self) -> Path:
        return self.train_file.with_suffix(".arrow")

    @property
    def eval_rows(self) -> Path:
        return self.eval_file.with_suffix(".arrow")

    def job(self) -> Job:
        """A job with an empty folder."""
        folder = next(path for n in count(1) if not (path := self.folder / f"job-{n}").exists())
        folder.mkdir()
        return Job(folder, self.models, self.train_rows, self.eval_rows, model=MODEL)

    def config(self, *, packing: bool = False, **training: Any) -> dict[str, Any]:
        """Settings of a short run; `training` differs from what is usual here."""
        return {
            "model": MODEL,
            "method": {"type": "sft", "max_length": self.max_length, "packing": packing},
            "lora": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0},
            "training": {"max_steps": 6, "save_steps": 3, "learning_rate": 1e-3} | training,
        }


def largest_difference(pairs: Sequence[tuple[float, float]]) -> float:
    """The largest difference of a pair, relative to its second number where that is above 1."""
    return max(abs(one - other) / max(1.0, abs(other)) for one, other in pairs)


def made_up_rows() -> list[str]:
    """Chats of different lengths; the same each time."""
    chance = Random(7)

    def words(most: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(1, most)))

    chats = ([("user", words(6)), ("assistant", words(9))] for _ in range(NUM_ROWS + NUM_EVAL_ROWS))
    return [json.dumps({"messages": [{"role": role, "content": text} for role, text in chat]}) for chat in chats]

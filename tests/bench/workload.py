"""Models, rows and job settings that the rows train with; the same arguments give the same files."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlab.schemas import JobConfig
from tests.bench.service import Service

WORDS = [
    "queue",
    "job",
    "order",
    "device",
    "checkpoint",
    "weight",
    "optimizer",
    "schedule",
    "worker",
    "good",
    "repeat",
    "step",
    "pause",
    "save",
    "resume",
    "adapter",
    "small",
    "matrix",
    "base",
    "model",
    "upload",
    "dataset",
    "name",
    "config",
    "loss",
    "learn",
    "eval",
    "hold",
    "download",
    "complete",
    "log",
    "a",
    "the",
    "of",
    "and",
    "to",
    "is",
]


@dataclass(frozen=True)
class ModelSize:
    """A randomly initialised Llama."""

    name: str
    vocab_size: int
    hidden: int
    layers: int


TINY = ModelSize("tiny", vocab_size=512, hidden=64, layers=2)
MID = ModelSize("mid", vocab_size=8192, hidden=512, layers=8)
"""Large enough that a step of the default job takes most of a second on two cores."""


@dataclass(frozen=True)
class Workload:
    """What a job and a plain script can both be given."""

    model: Path
    rows: Path
    model_name: str
    """How the service knows the model."""
    dataset_id: str

    def job(self, name: str, *, max_steps: int, **training: Any) -> JobConfig:
        """A LoRA job that logs each step and saves at the end only."""
        return JobConfig.model_validate(
            {
                "name": name,
                "model": self.model_name,
                "dataset": self.dataset_id,
                "method": {"max_length": 512, "assistant_only_loss": False},
                "training": {"max_steps": max_steps, "save_steps": 10_000_000, **training},
            }
        )


def prepare(service: Service, folder: Path, size: ModelSize) -> Workload:
    """Have the model where the service finds it, and rows of 100 to 250 words as a dataset."""
    name = f"ftlab-bench/{size.name}"
    model = service.settings.home / "models" / name.replace("/", "--")
    if not model.exists():
        _make_model(model, size)
    return _with_rows(service, folder, model, name)


def prepare_real(service: Service, folder: Path, model: Path) -> Workload:
    """The same with a model of the user, below one of the service's model folders."""
    return _with_rows(service, folder, model, str(model))


def write_rows(file: Path, *, num_rows: int, seed: int = 0) -> Path:
    """Question and answer rows of different lengths."""
    chance = random.Random(seed)
    with file.open("w", encoding="utf-8") as stream:
        for _ in range(num_rows):
            question = " ".join(chance.choices(WORDS, k=chance.randint(20, 50)))
            answer = " ".join(chance.choices(WORDS, k=chance.randint(80, 200)))
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            stream.write(json.dumps({"messages": messages}) + "\n")
    return file


def _with_rows(service: Service, folder: Path, model: Path, name: str) -> Workload:
    rows = folder / "rows.jsonl"
    if not rows.exists():
        write_rows(rows, num_rows=1000)
    dataset = service.client.datasets.upload(rows, name="benchmark rows")
    return Workload(model, rows, name, dataset.id)


def _make_model(folder: Path, size: ModelSize) -> None:
    from tests.support.tiny_models import make_tiny_model  # imports torch, which most rows never need

    aside = folder.with_name(f".tmp-{folder.name}")
    make_tiny_model(aside, vocab_size=size.vocab_size, hidden=size.hidden, layers=size.layers)
    aside.rename(folder)

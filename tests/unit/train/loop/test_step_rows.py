"""The rows of a step by dataset and line, compared with what the run really trained."""

from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer

from tests.unit.train.runs import Job, write_rows
from train.failures.errors import LossDivergedError
from train.loop import callback, step_rows

Trained = list[set[int]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Numbers of the answers of every pass of a run, as the collator got them."""
    passes: Trained = []
    training_step = Trainer.training_step

    def step(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        texts = self.processing_class.batch_decode(inputs["input_ids"])
        passes.append({int(text.split("Answer ")[1].split(".")[0]) for text in texts})
        return training_step(self, model, inputs, *rest)

    monkeypatch.setattr(Trainer, "training_step", step)
    return passes


def fail_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The loss of this step is not finite, as far as the callback sees."""
    on_log = callback.RunCallback.on_log

    def seen(self: Any, args: Any, state: Any, control: Any, logs: dict[str, Any], **rest: Any) -> None:
        logs = logs | ({"loss": float("nan")} if state.global_step == step and "loss" in logs else {})
        on_log(self, args, state, control, logs, **rest)

    monkeypatch.setattr(callback.RunCallback, "on_log", seen)


def notes_of(job: Job, **config: Any) -> list[str]:
    with pytest.raises(LossDivergedError) as caught:
        job.train(**config)
    return getattr(caught.value, "__notes__", [])


def test_the_rows_of_the_step(job: Job, trained: Trained, monkeypatch: pytest.MonkeyPatch):
    fail_at(monkeypatch, 5)
    [note] = notes_of(job, training={"gradient_accumulation_steps": 2, "max_steps": 6})
    lines = sorted(number + 1 for number in trained[8] | trained[9])
    assert note == f"Rows of step 5: dataset ds-1, lines {', '.join(map(str, lines))}."


def test_the_rows_since_the_newest_loss(job: Job, trained: Trained, monkeypatch: pytest.MonkeyPatch):
    fail_at(monkeypatch, 4)
    [note] = notes_of(job, training={"logging_steps": 2})
    lines = sorted(number + 1 for number in trained[2] | trained[3])
    assert note == f"Rows of the steps 3 to 4: dataset ds-1, lines {', '.join(map(str, lines))}."


def test_the_rows_of_a_mix_and_of_a_split(job: Job, tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch):
    """The answers of the second dataset are numbered from 100; its first line is 1."""
    job.rows = [write_rows(tmp_path / "a.arrow", 12), write_rows(tmp_path / "b.arrow", 12, offset=100)]
    job.eval_rows = None
    fail_at(monkeypatch, 2)
    mix = {"dataset": ["ds-1", "ds-2"], "dataset_weights": [1, 1], "eval_split": 0.25}
    [note] = notes_of(job, training={"per_device_train_batch_size": 8, "logging_steps": 2}, **mix)
    numbers = sorted(trained[0] | trained[1])
    parts = []
    for name, first in (("ds-1", 0), ("ds-2", 100)):
        lines = [str(number - first + 1) for number in numbers if first <= number < first + 100]
        parts.append(f"dataset {name}, lines {', '.join(lines)}")
    assert note == f"Rows of the steps 1 to 2: {'; '.join(parts)}."


def test_rows_that_cannot_be_named(job: Job, monkeypatch: pytest.MonkeyPatch):
    fail_at(monkeypatch, 1)
    assert notes_of(job, method={"type": "sft", "max_length": 64, "packing": True}) == []
    # Rows were skipped, so that those that are trained have no known lines.
    monkeypatch.setattr(step_rows, "_lines_of", lambda plan, number, sizes, indexes: [])
    assert notes_of(job) == []


def test_only_some_of_many_lines_are_named():
    named = ", ".join(map(str, range(1, 21)))
    assert step_rows._lines(range(1, 31)) == f"lines {named} and 10 more"
    assert step_rows._lines([7]) == "line 7"

"""All that the attempts of a job computed, to compare it bit by bit with what another job computed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import Trainer

from tests.unit.train.runs import Job, Link
from train.checkpoints import checkpoint_files

SERIES = (
    "loss",
    "learning_rate",
    "grad_norm",
    "num_tokens",
    "entropy",
    "mean_token_accuracy",
    "eval_loss",
    "rewards/margins",
    "eval_rewards/margins",
)
Rows = dict[int, list[Any]]


def record_rows(replace: Callable[[Any, str, Any], None] = setattr) -> Rows:
    """From now on, note the token ids of every forward and backward pass below the number of its step.

    Where answers are generated, they are those of the prompts.
    """
    seen: Rows = {}
    original = Trainer.training_step

    def training_step(self: Trainer, model: Any, inputs: Any, *others: Any) -> torch.Tensor:
        ids = [row["prompt_ids"] for row in inputs] if isinstance(inputs, list) else inputs["input_ids"].tolist()
        seen.setdefault(self.state.global_step + 1, []).append(ids)
        return original(self, model, inputs, *others)

    replace(Trainer, "training_step", training_step)
    return seen


@dataclass
class Trace:
    """What a job's attempts told and trained on, merged as the record merges it: a later attempt replaces."""

    job: Job
    links: list[Link] = field(default_factory=list)
    rows: Rows = field(default_factory=dict)

    def series(self) -> dict[str, dict[int, float]]:
        return {
            name: {step: value for link in self.links for step, value in link.series(name).items()} for name in SERIES
        }

    def states(self) -> dict[str, Any]:
        """The training state of the newest checkpoint."""
        _, folder = checkpoint_files.committed(self.job.folder / "checkpoints")[-1]
        files = [folder / "optimizer.pt", folder / "scheduler.pt", *sorted(folder.glob("rng_state*"))]
        return {file.name: torch.load(file, weights_only=False) for file in files}

    def weights(self) -> bytes:
        """Those that were delivered."""
        [file] = (self.job.folder / "model").glob("*.safetensors")
        return file.read_bytes()


def attempt(trace: Trace, rows: Rows, link: Link | None = None, **options: Any) -> Link:
    """Train the job of a trace once more; `rows` is what `record_rows` notes."""
    link = link or Link()
    rows.clear()
    trace.links.append(link)
    try:
        trace.job.train(link, **options)
    finally:
        trace.rows |= rows
    return link


def assert_equal(one: Trace, other: Trace) -> None:
    assert one.series() == other.series()
    assert one.rows == other.rows
    assert one.weights() == other.weights()
    assert_same(one.states(), other.states())


def assert_same(one: Any, other: Any) -> None:
    """Equal to the last bit, also inside."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, torch.Tensor | np.ndarray):
        assert one.shape == other.shape
        assert bool((one == other).all())
    else:
        assert one == other

"""A checkpoint that cannot be saved, or should not be: the earlier ones stay, and the reason is told."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from ftlab.schemas import EventPayload, MetricsPayload
from ftlab.status import RETRY_CLASSES, ReasonCode, RetryClass
from tests.unit.train.runs import Job, Link
from train.checkpoints import checkpoint_files
from train.failures.classify import classify
from train.failures.errors import LossDivergedError
from train.methods.sft import SftRunTrainer
from train.plan import ModelLoaded


@dataclass
class FullDisk(Link):
    """From step 5 on, the file `name` of the next checkpoint lies on a device that is always full."""

    folder: Path = Path()
    name: str = ""

    def emit(self, payload: EventPayload | ModelLoaded) -> None:
        super().emit(payload)
        if isinstance(payload, MetricsPayload) and payload.step == 5:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / self.name).symlink_to("/dev/full")


@pytest.mark.parametrize(
    "name",
    [
        "optimizer.pt",
        "rng_state.pth",
        "run_state_0.json",
        "trainer_state.json",
        checkpoint_files.MANIFEST,
    ],
)
def test_a_disk_that_is_full_in_a_save_costs_no_earlier_checkpoint(job: Job, name: str):
    link = FullDisk(folder=job.folder / "checkpoints" / ".tmp-1" / "checkpoint-6", name=name)
    with pytest.raises(Exception, match=r"disk .* is full") as caught:
        job.train(link)
    failure = classify(caught.value, job.folder)
    assert failure.reason is ReasonCode.DISK_FULL
    assert RETRY_CLASSES[failure.reason] is RetryClass.NEVER
    assert str(job.folder) in failure.message
    assert " bytes free" in failure.message
    assert "Traceback" in failure.traceback
    assert job.checkpoints == ["step-00000003"], "nothing half written fills the disk"
    checkpoint_files.verify(job.folder / "checkpoints" / "step-00000003")
    again = Link()
    assert job.train(again).delivered_step == 8
    assert again.notices("resuming") == ["Resuming from step 3."]


def ruin(monkeypatch: pytest.MonkeyPatch, job_step: int, value: float) -> None:
    """The gradients of step `job_step` are no numbers."""
    original = SftRunTrainer.training_step

    def training_step(self: SftRunTrainer, model: torch.nn.Module, *others: Any) -> torch.Tensor:
        loss = original(self, model, *others)
        if self.state.global_step + 1 == job_step:
            for weight in model.parameters():
                if weight.grad is not None:
                    weight.grad.fill_(value)
        return loss

    monkeypatch.setattr(SftRunTrainer, "training_step", training_step)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("logging_steps", [1, 50])
def test_weights_that_are_no_numbers_are_never_saved(
    job: Job, monkeypatch: pytest.MonkeyPatch, value: float, logging_steps: int
):
    """The loss of that step is good still, and it is not looked at before the save."""
    ruin(monkeypatch, 6, value)
    with pytest.raises(LossDivergedError, match="at step 6") as caught:
        job.train(training={"logging_steps": logging_steps, "save_total_limit": 1, "max_grad_norm": 0.0})
    assert classify(caught.value, job.folder).reason is ReasonCode.LOSS_DIVERGED
    assert job.checkpoints == ["step-00000003"]


def test_a_loss_that_becomes_infinite_ends_the_run_and_keeps_the_checkpoints(job: Job, monkeypatch: pytest.MonkeyPatch):
    original = SftRunTrainer.training_step

    def training_step(self: SftRunTrainer, *others: Any) -> torch.Tensor:
        loss = original(self, *others)
        return loss * math.inf if self.state.global_step == 4 else loss

    monkeypatch.setattr(SftRunTrainer, "training_step", training_step)
    link = Link()
    with pytest.raises(LossDivergedError, match="The loss became inf at step 5") as caught:
        job.train(link)
    failure = classify(caught.value, job.folder)
    assert failure.reason is ReasonCode.LOSS_DIVERGED
    assert "learning_rate" in failure.message
    assert job.checkpoints == ["step-00000003"]
    assert list(link.series("loss")) == [1, 2, 3, 4]

"""The optimizer of a resume: its state comes from the checkpoint, its settings from the job's config.

An optimizer and a scheduler save their settings with their state, so that a plain load would bring back those that the
job had when the checkpoint was made.
"""

from pathlib import Path
from typing import Any

import torch
from transformers.trainer import SCHEDULER_NAME

_KEPT = frozenset({"params", "lr"})
"""Parts of a parameter group that are no settings: the rate follows from the schedule."""


class OptimizerSettings:
    """The settings of an optimizer and of its learning rate schedule, before the state of a checkpoint is loaded."""

    def __init__(self, optimizer: Any, scheduler: Any) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._groups = [
            {name: value for name, value in group.items() if name not in _KEPT} for group in optimizer.param_groups
        ]
        self._peaks = list(scheduler.base_lrs)

    def restore(self) -> None:
        """Put the settings back, and set the rate that the schedule has at the next step."""
        scheduler = self._scheduler
        scheduler.base_lrs = self._peaks
        functions = scheduler.lr_lambdas
        # In an exact resume, these are the bits that the checkpoint has.
        rates = [peak * function(scheduler.last_epoch) for peak, function in zip(self._peaks, functions, strict=True)]
        for group, settings, rate in zip(self._optimizer.param_groups, self._groups, rates, strict=True):
            group |= settings | {"lr": rate}
        scheduler._last_lr = rates


def load_schedule(scheduler: Any, checkpoint: Path) -> None:
    """Load the position of the learning rate, without the state of the optimizer."""
    scheduler.load_state_dict(torch.load(checkpoint / SCHEDULER_NAME, map_location="cpu", weights_only=True))

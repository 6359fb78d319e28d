"""Times the parts of a training step: generation, forward pass, backward pass, optimizer."""

import time
from itertools import pairwise
from typing import Any

import torch

from ftlab.schemas.events import RunPart


class StepTimer:
    """Marks the beginning of each part of a step, and adds up the parts when the step has ended.

    On a GPU the marks are events in its stream, because the device works behind the host. They are read when the device
    has done the whole step, so no mark makes the host wait.
    """

    def __init__(self, *, use_cuda: bool) -> None:
        self._use_cuda = use_cuda
        self._marks: list[tuple[RunPart | None, Any]] = []
        """Parts, each with the event or the time in seconds at which it began."""

    def step_started(self) -> None:
        """Begin a step. Marks of other work since the last step, such as a memory probe, are dropped."""
        self._marks.clear()
        self.mark(None)

    def mark(self, part: RunPart | None) -> None:
        """End the part before and begin `part`; `None` for work that is not reported by itself."""
        if self._use_cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append((part, event))
        else:
            self._marks.append((part, time.perf_counter()))

    def step_ended(self) -> dict[RunPart, float]:
        """Wait until the device has done the step; return its seconds by part."""
        self.mark(None)
        if self._use_cuda:
            torch.cuda.synchronize()
        parts_s: dict[RunPart, float] = {}
        for (part, began), (_, ended) in pairwise(self._marks):
            if part is not None:
                time_s = began.elapsed_time(ended) / 1000 if self._use_cuda else ended - began
                parts_s[part] = parts_s.get(part, 0.0) + time_s
        self._marks.clear()
        return parts_s

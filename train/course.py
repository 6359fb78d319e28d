"""The way of a run through its rows: how many one step takes, which come next, and how far the schedule is.

A run takes its rows in epochs, each in an order of its own, as transformers does. When a resume changes how many rows
a step takes, steps and epochs no longer fit together. From then on the rest of the rows is one stream, which starts
where the rows consumed end; each step takes its share, across the ends of epochs, and the schedule is stretched so
that it goes on at the value that it had and ends where the rows do.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ftlab.schemas import TrainingConfig


@dataclass(frozen=True)
class Pace:
    """What decides how many rows one optimizer step takes."""

    batch_size: int
    """Rows of one forward and backward pass of one worker."""
    accumulation: int
    """Passes of one step."""
    workers: int

    @property
    def rows_per_pass(self) -> int:
        return self.batch_size * self.workers

    @property
    def rows_per_step(self) -> int:
        return self.rows_per_pass * self.accumulation


@dataclass(frozen=True)
class Course:
    """One stretch of a run with an unchanged pace. All counts of rows and steps begin at the run's beginning."""

    pace: Pace
    num_rows: int
    """Rows of one epoch."""
    last_step: int
    start_step: int = 0
    start_rows: int = 0
    """Rows consumed before the stretch."""
    end_rows: int = 0
    """Rows consumed at the end of the run; known where the stretch is not the first."""
    schedule_start: float = 0.0
    """Where in the schedule the stretch begins, in steps of the first stretch."""
    schedule_steps: int = 0
    """Length of the schedule, in steps of the first stretch."""

    @classmethod
    def planned(cls, training: TrainingConfig, num_rows: int, workers: int) -> "Course":
        """That of a run from its beginning."""
        pace = Pace(training.per_device_train_batch_size, training.gradient_accumulation_steps, workers)
        per_epoch = math.ceil(math.ceil(num_rows / pace.rows_per_pass) / pace.accumulation)
        last_step = training.max_steps or math.ceil(training.num_train_epochs * per_epoch)
        course = cls(pace, num_rows, last_step, schedule_steps=last_step)
        return replace(course, end_rows=course.rows_at(last_step))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Course":
        """What `to_document` gave."""
        return cls(**dict(document) | {"pace": Pace(**document["pace"])})

    def to_document(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_stream(self) -> bool:
        """Whether it takes its rows from the stream that a change of the pace leaves."""
        return self.start_step > 0

    @property
    def num_passes(self) -> int:
        """Forward and backward passes of one worker in a stream."""
        return math.ceil((self.end_rows - self.start_rows) / self.pace.rows_per_pass)

    def rows_at(self, step: int) -> int:
        """Rows consumed when `step` is done. The last step of an epoch, or of a stream, may have fewer than others."""
        if self.is_stream:
            return min(self.start_rows + (step - self.start_step) * self.pace.rows_per_step, self.end_rows)
        per_epoch = math.ceil(math.ceil(self.num_rows / self.pace.rows_per_pass) / self.pace.accumulation)
        epochs, steps = divmod(step, per_epoch)
        return epochs * self.num_rows + min(steps * self.pace.rows_per_step, self.num_rows)

    def schedule_at(self, step: int) -> float:
        """How far the schedule is after `step`, in steps of the first stretch; in a stream, it moves with the rows."""
        if not self.is_stream:
            return float(step)
        if step >= self.last_step:
            return float(self.schedule_steps)
        done = (self.rows_at(step) - self.start_rows) / (self.end_rows - self.start_rows)
        return self.schedule_start + done * (self.schedule_steps - self.schedule_start)

    def changed(self, step: int, pace: Pace) -> "Course":
        """The stretch that goes on after `step` with another pace."""
        start_rows = self.rows_at(step)
        passes = math.ceil((self.end_rows - start_rows) / pace.rows_per_pass)
        return replace(
            self,
            pace=pace,
            last_step=step + math.ceil(passes / pace.accumulation),
            start_step=step,
            start_rows=start_rows,
            schedule_start=self.schedule_at(step),
        )


def row_order(seed: int, num_rows: int, start: int, end: int) -> Iterator[int]:
    """Which rows come at the places `start` to `end` of all epochs in a row: that of transformers and accelerate."""
    for epoch in range(start // num_rows, math.ceil(end / num_rows)):
        order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed + epoch))
        first = epoch * num_rows
        yield from order[max(0, start - first) : max(0, end - first)].tolist()


class RowStream(torch.utils.data.Sampler[int]):
    """The rows of a course that is a stream."""

    def __init__(self, course: Course, seed: int) -> None:
        self._course = course
        self._seed = seed

    def __len__(self) -> int:
        return self._course.end_rows - self._course.start_rows

    def __iter__(self) -> Iterator[int]:
        course = self._course
        return row_order(self._seed, course.num_rows, course.start_rows, course.end_rows)

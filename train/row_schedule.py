"""The way of a run through its rows: how many one step takes, which come next, and how far the schedule is.

A run takes its files one after another. Each is trained in epochs, every epoch in an order of its own, as transformers
does, and no step takes rows of two epochs or of two files. When a resume changes how many rows a step takes, steps and
epochs of the file no longer fit together. From then on the rest of this file is one stream, which starts where the rows
consumed end; each step takes its share, across the ends of epochs. The schedule is then stretched so that it goes on at
the value that it had and ends where the rows do. It is stretched the same way when files are appended.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate
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

    def passes(self, num_rows: int) -> int:
        """Forward and backward passes of one worker for so many rows."""
        return math.ceil(num_rows / self.rows_per_pass)

    def steps(self, num_rows: int) -> int:
        """Optimizer steps for so many rows, the last of which may take fewer."""
        return math.ceil(self.passes(num_rows) / self.accumulation)

    def rows_after(self, steps: int, num_rows: int) -> int:
        """Rows consumed by the first `steps` in a file of `num_rows`, counted on over its epochs."""
        epochs, steps = divmod(steps, self.steps(num_rows))
        return epochs * num_rows + min(steps * self.rows_per_step, num_rows)


@dataclass(frozen=True)
class Position:
    """A place in a file, counted in rows over all its epochs."""

    file: int
    place: int


@dataclass(frozen=True)
class Lap:
    """Rows in a row that no step reaches beyond: an epoch of a file, or the rest of a file at a new pace."""

    file: int
    start: int
    end: int

    @property
    def num_rows(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Course:
    """One stretch of a run with an unchanged pace. Steps and rows are counted from the run's beginning."""

    pace: Pace
    rows: tuple[int, ...]
    """Of each file the rows of one epoch."""
    ends: tuple[int, ...]
    """Of each file the rows that are trained, over all its epochs."""
    start_step: int = 0
    start_file: int = 0
    start_place: int = 0
    """Where the stretch begins: above 0, the rest of that file is a stream."""
    stretched_at: int | None = None
    """Rows consumed where the schedule was stretched; `None` where it goes by steps, as planned."""
    schedule_start: float = 0.0
    """Where in the schedule that was, in steps of the first stretch."""
    schedule_steps: int = 0
    """Length of the schedule, in steps of the first stretch."""

    @classmethod
    def planned(cls, training: TrainingConfig, rows: Sequence[int], workers: int) -> "Course":
        """That of a run from its beginning. One file is repeated for `max_steps`; several end with their epochs."""
        pace = Pace(training.per_device_train_batch_size, training.gradient_accumulation_steps, workers)
        if training.max_steps is not None and len(rows) == 1:
            ends = [pace.rows_after(training.max_steps, rows[0])]
        else:
            ends = _ends(training, rows, pace)
        course = cls(pace, tuple(rows), tuple(ends))
        return replace(course, schedule_steps=course.last_step)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Course":
        """The inverse of `to_document`."""
        tuples = {name: tuple(document[name]) for name in ("rows", "ends")}
        return cls(**{**document, **tuples, "pace": Pace(**document["pace"])})

    def to_document(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def num_files(self) -> int:
        return len(self.rows)

    @property
    def is_planned(self) -> bool:
        """Whether neither a change of the pace nor an appended file has touched it."""
        return self.start_step == 0 and self.stretched_at is None

    @property
    def last_step(self) -> int:
        return self._first_steps[-1]

    @property
    def end_rows(self) -> int:
        """Rows consumed at the end of the run."""
        return sum(self.ends)

    @property
    def num_laps(self) -> int:
        return sum(
            1 if self._start_of(file) else math.ceil(end / num_rows)
            for file, (num_rows, end) in enumerate(zip(self.rows, self.ends, strict=True))
            if file >= self.start_file
        )

    def rows_at(self, step: int) -> int:
        """Rows consumed when `step` is done. The last step of a lap may have fewer than others."""
        position = self.next_at(step)
        return self._rows_before(position.file) + position.place

    def done_at(self, step: int) -> Position:
        """Where `step` has brought the run; the end of a file, where it is the last one of it."""
        return self._place_in(max(self.start_file, bisect_left(self._first_steps, step) - 1), step)

    def next_at(self, step: int) -> Position:
        """Where the next row comes from once `step` is done; the end of the last file when none comes any more."""
        if step >= self.last_step:
            return self.done_at(self.last_step)
        return self._place_in(bisect_right(self._first_steps, step) - 1, step)

    def laps_from(self, step: int) -> tuple[Iterator[Lap], int]:
        """The laps that are left after `step`, the begun one first, and how many passes of that one are done."""
        if step >= self.last_step:
            return iter(()), 0
        position = self.next_at(step)
        steps_done = step - self._first_steps[position.file]
        if not self._start_of(position.file):
            steps_done %= self.pace.steps(self.rows[position.file])
        return self._laps(position), steps_done * self.pace.accumulation

    def schedule_at(self, step: int) -> float:
        """How far the schedule is after `step`, in steps of the first stretch; once stretched, it goes by the rows."""
        if self.stretched_at is None:
            return float(step)
        if step >= self.last_step:
            return float(self.schedule_steps)
        done = (self.rows_at(step) - self.stretched_at) / (self.end_rows - self.stretched_at)
        return self.schedule_start + done * (self.schedule_steps - self.schedule_start)

    def changed(self, step: int, pace: Pace) -> "Course":
        """The stretch that goes on after `step` with another pace."""
        position = self.next_at(step)
        return replace(
            self._stretched(step),
            pace=pace,
            start_step=step,
            start_file=position.file,
            start_place=position.place,
        )

    def extended(self, step: int, rows: Sequence[int], training: TrainingConfig) -> "Course":
        """The course with the files `rows[self.num_files:]` behind its own, appended after `step`.

        A run that has come to its end goes back to where its schedule is highest, the end of the warm-up: nothing is
        left of it to be stretched, and most schedules end at a learning rate of 0.
        """
        added = rows[self.num_files :]
        longer = replace(self._stretched(step), rows=tuple(rows), ends=(*self.ends, *_ends(training, added, self.pace)))
        if step < self.last_step:
            return longer
        return replace(longer, schedule_start=float(min(training.warmup_steps, self.schedule_steps - 1)))

    def _stretched(self, step: int) -> "Course":
        return replace(self, stretched_at=self.rows_at(step), schedule_start=self.schedule_at(step))

    @cached_property
    def _first_steps(self) -> list[int]:
        """Steps that are done when each file begins, and at the end of all."""
        return list(accumulate(map(self._num_steps, range(self.num_files)), initial=self.start_step))

    @cached_property
    def _ends_so_far(self) -> list[int]:
        return list(accumulate(self.ends, initial=0))

    def _rows_before(self, file: int) -> int:
        return self._ends_so_far[file]

    def _start_of(self, file: int) -> int:
        return self.start_place if file == self.start_file else 0

    def _num_steps(self, file: int) -> int:
        """Of this stretch."""
        if file < self.start_file:
            return 0
        if start := self._start_of(file):
            return self.pace.steps(self.ends[file] - start)
        epochs, rest = divmod(self.ends[file], self.rows[file])
        return epochs * self.pace.steps(self.rows[file]) + self.pace.steps(rest)

    def _place_in(self, file: int, step: int) -> Position:
        steps = step - self._first_steps[file]
        if start := self._start_of(file):
            place = start + steps * self.pace.rows_per_step
        else:
            place = self.pace.rows_after(steps, self.rows[file])
        return Position(file, min(place, self.ends[file]))

    def _laps(self, position: Position) -> Iterator[Lap]:
        """From the one that `position` lies in."""
        for file in range(position.file, self.num_files):
            num_rows, end = self.rows[file], self.ends[file]
            if start := self._start_of(file):
                yield Lap(file, start, end)
                continue
            place = position.place if file == position.file else 0
            for lap_start in range(place - place % num_rows, end, num_rows):
                yield Lap(file, lap_start, min(lap_start + num_rows, end))


def _ends(training: TrainingConfig, rows: Sequence[int], pace: Pace) -> list[int]:
    """Of each file the rows that are trained: `num_train_epochs`, as far as `max_steps` for all of them reach."""
    steps_left = training.max_steps
    ends = []
    for num_rows in rows:
        steps = math.ceil(training.num_train_epochs * pace.steps(num_rows))
        if steps_left is not None:
            steps = min(steps, steps_left)
            steps_left -= steps
        ends.append(pace.rows_after(steps, num_rows))
    return ends


def row_order(seed: int, num_rows: int, start: int, end: int) -> Iterator[int]:
    """Which rows come at the places `start` to `end` of all epochs in a row: that of transformers and accelerate."""
    for epoch in range(start // num_rows, math.ceil(end / num_rows)):
        order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed + epoch))
        first = epoch * num_rows
        yield from order[max(0, start - first) : max(0, end - first)].tolist()


def file_order(course: Course, seed: int, file: int, start: int, end: int) -> Iterator[int]:
    """Which rows of a file come at its places `start` to `end`; every file is shuffled in its own way."""
    return row_order(seed + file, course.rows[file], start, end)


class LapSampler(torch.utils.data.Sampler[int]):
    """The rows of one lap, as numbers in the row of all files."""

    def __init__(self, course: Course, lap: Lap, seed: int) -> None:
        self._course = course
        self._lap = lap
        self._seed = seed

    def __len__(self) -> int:
        return self._lap.num_rows

    def __iter__(self) -> Iterator[int]:
        lap = self._lap
        first = sum(self._course.rows[: lap.file])
        return (first + row for row in file_order(self._course, self._seed, lap.file, lap.start, lap.end))

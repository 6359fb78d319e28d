"""The schedule of a run over its rows: how many each step takes, which come next, and the learning rate's position.

A run trains its files one after another. Each is trained in epochs, every epoch in an order of its own, as transformers
does, and no step takes rows of two epochs or of two files. A resume may change the passes of a step as long as it takes
the same rows. When a resume changes how many rows a step takes, steps and epochs of the file no longer fit together.
The rest of this file then becomes one stream that starts after the rows consumed so far; each step takes its share,
across the ends of epochs. The learning rate schedule is rescaled so that it continues at its current value and ends
with the last row. It is rescaled in the same way when files are appended. Datasets that are mixed (`train.dataset_mix`)
are one file.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from ftlab.schemas import TrainingConfig
from ftlab.schemas.methods import TrainingMethod
from train.dataset_mix import Mix


@dataclass(frozen=True)
class StepSize:
    """How many rows one optimizer step takes."""

    batch_size: int
    """Rows per forward and backward pass of one worker."""
    accumulation: int
    """Passes per step."""
    workers: int
    answers_per_row: int = 1
    """Generated answers to each row; where there are several, `batch_size` counts answers."""
    steps_per_answer: int = 1
    """Steps in succession that train the same generated answers."""

    @property
    def rows_per_pass(self) -> int:
        """Rows of a pass of all workers, without generated answers."""
        return self.batch_size * self.workers

    @property
    def rows_per_step(self) -> int:
        return self.rows_per_pass * self.accumulation // self.answers_per_row

    def passes(self, num_rows: int) -> int:
        """Forward and backward passes of one worker over `num_rows`."""
        if self.answers_per_row > 1:
            # A prompt takes part of a pass, or several: every step generates as many answers as the first.
            return self.steps(num_rows) * self.accumulation
        return math.ceil(num_rows / self.rows_per_pass)

    def steps(self, num_rows: int) -> int:
        """Optimizer steps over `num_rows`; the last one may take fewer rows."""
        return math.ceil(num_rows / self.rows_per_step) * self.steps_per_answer

    def rows_in(self, steps: int) -> int:
        """Rows that `steps` consume in the middle of a file. A row is consumed once its answers are trained."""
        return steps // self.steps_per_answer * self.rows_per_step

    def has_same_steps(self, other: "StepSize") -> bool:
        """Whether every step takes the rows that it takes with `other`, in other passes. Generated answers belong to
        the passes that they were generated for.
        """
        generates = self.answers_per_row > 1 or other.answers_per_row > 1
        return self == other or (self.rows_per_step == other.rows_per_step and not generates)

    def rows_after(self, steps: int, num_rows: int) -> int:
        """Rows that the first `steps` consume in a file of `num_rows`, summed over its epochs."""
        epochs, steps = divmod(steps, self.steps(num_rows))
        return epochs * num_rows + min(self.rows_in(steps), num_rows)


@dataclass(frozen=True)
class Position:
    """A place in a file, counted in rows over all its epochs."""

    file: int
    place: int


@dataclass(frozen=True)
class Segment:
    """Consecutive rows whose end no step crosses: an epoch of a file, or the rest of a file with a new step size."""

    file: int
    start: int
    end: int

    @property
    def num_rows(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class RowSchedule:
    """The rows of all steps after `start_step`, all of one size. Steps and rows count from the run's beginning."""

    step_size: StepSize
    rows: tuple[int, ...]
    """Rows per epoch of each file."""
    ends: tuple[int, ...]
    """Rows trained of each file, over all its epochs."""
    start_step: int = 0
    start_file: int = 0
    start_place: int = 0
    """Where the schedule begins in that file: above 0, the rest of the file is a stream."""
    lr_rescaled_at: int | None = None
    """Rows consumed when the learning rate was rescaled; `None` while it follows the steps, as planned."""
    lr_start: float = 0.0
    """Position of the learning rate at that moment, in steps of the first attempt."""
    lr_steps: int = 0
    """Length of the learning rate schedule, in steps of the first attempt."""
    mix: Mix | None = None
    """The datasets that are mixed; they are one file, with the rows of the mix."""

    @classmethod
    def planned(
        cls,
        training: TrainingConfig,
        rows: Sequence[int],
        workers: int,
        method: TrainingMethod | None = None,
        mix: Mix | None = None,
    ) -> "RowSchedule":
        """Plan a whole run over files of `rows`, or over a mix. One file is repeated for `max_steps`; several end with
        their epochs.
        """
        rows = rows if mix is None else [mix.num_rows]
        step_size = StepSize(
            training.per_device_train_batch_size,
            training.gradient_accumulation_steps,
            workers,
            method.answers_per_row if method else 1,
            method.steps_per_answer if method else 1,
        )
        if training.max_steps is not None and len(rows) == 1:
            ends = [step_size.rows_after(training.max_steps, rows[0])]
        else:
            ends = _ends(training, rows, step_size)
        schedule = cls(step_size, tuple(rows), tuple(ends), mix=mix)
        return replace(schedule, lr_steps=schedule.last_step)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "RowSchedule":
        """Undo `to_document`."""
        tuples = {name: tuple(document[name]) for name in ("rows", "ends")}
        parts = {"step_size": StepSize(**document["step_size"]), "mix": Mix.from_document(document.get("mix"))}
        return cls(**{**document, **tuples, **parts})

    def to_document(self) -> dict[str, Any]:
        """The schedule as a checkpoint's manifest keeps it."""
        return asdict(self)

    @property
    def num_files(self) -> int:
        return len(self.rows)

    @property
    def last_step(self) -> int:
        return self._first_steps[-1]

    @property
    def end_rows(self) -> int:
        """Rows consumed at the end of the run."""
        return sum(self.ends)

    @property
    def num_segments(self) -> int:
        return sum(
            1 if self._start_of(file) else math.ceil(end / num_rows)
            for file, (num_rows, end) in enumerate(zip(self.rows, self.ends, strict=True))
            if file >= self.start_file
        )

    def rows_at(self, step: int) -> int:
        """Rows consumed when `step` is done. The last step of a segment may take fewer than others."""
        position = self.next_at(step)
        return self._rows_before[position.file] + position.place

    def done_at(self, step: int) -> Position:
        """Position after `step`; at the end of the file if that was the file's last step."""
        return self._place_in(max(self.start_file, bisect_left(self._first_steps, step) - 1), step)

    def next_at(self, step: int) -> Position:
        """Position of the next row after `step`; the end of the last file if no row is left."""
        if step >= self.last_step:
            return self.done_at(self.last_step)
        return self._place_in(bisect_right(self._first_steps, step) - 1, step)

    def segments_from(self, step: int) -> tuple[Iterator[Segment], int]:
        """Segments left after `step`, the started one first, and how many passes of that one are done."""
        if step >= self.last_step:
            return iter(()), 0
        position = self.next_at(step)
        steps_done = step - self._first_steps[position.file]
        if not self._start_of(position.file):
            steps_done %= self.step_size.steps(self.rows[position.file])
        return self._segments(position), steps_done * self.step_size.accumulation

    def lr_position(self, step: int) -> float:
        """Position of the learning rate after `step`, in steps of the first attempt; once rescaled, it follows rows."""
        if self.lr_rescaled_at is None:
            return float(step)
        if step >= self.last_step:
            return float(self.lr_steps)
        done = (self.rows_at(step) - self.lr_rescaled_at) / (self.end_rows - self.lr_rescaled_at)
        return self.lr_start + done * (self.lr_steps - self.lr_start)

    def continued(self, step: int, planned: "RowSchedule", training: TrainingConfig) -> "RowSchedule":
        """Continue after `step`, with the step size and the files of `planned`, the plan of the resuming attempt."""
        if self.mix != planned.mix or self.rows != planned.rows[: self.num_files]:
            return self._over_other_rows(step, planned)
        is_as_planned = self.start_step == 0 and self.lr_rescaled_at is None
        has_same_steps = self.step_size.has_same_steps(planned.step_size)
        has_more_files = self.num_files < planned.num_files
        if is_as_planned and has_same_steps and not has_more_files:
            return planned
        schedule = self
        if has_same_steps:
            schedule = replace(schedule, step_size=planned.step_size)
        elif has_more_files or step < self.last_step:
            schedule = schedule.with_step_size(step, planned.step_size)
        return schedule.with_files(step, planned.rows, training) if has_more_files else schedule

    def with_step_size(self, step: int, step_size: StepSize) -> "RowSchedule":
        """Continue after `step` with steps of another size."""
        position = self.next_at(step)
        return replace(
            self._with_rescaled_lr(step),
            step_size=step_size,
            start_step=step,
            start_file=position.file,
            start_place=position.place,
        )

    def with_files(self, step: int, rows: Sequence[int], training: TrainingConfig) -> "RowSchedule":
        """Append the files `rows[self.num_files:]` after `step`.

        If the run had finished, nothing is left of the learning rate schedule to rescale, and most end at a rate of 0:
        it then starts again at its highest value, the end of the warm-up.
        """
        ends = (*self.ends, *_ends(training, rows[self.num_files :], self.step_size))
        longer = replace(self._with_rescaled_lr(step), rows=tuple(rows), ends=ends)
        if step < self.last_step:
            return longer
        return replace(longer, lr_start=float(min(training.num_warmup_steps(self.lr_steps), self.lr_steps - 1)))

    def _over_other_rows(self, step: int, planned: "RowSchedule") -> "RowSchedule":
        """Continue after as many rows as are consumed, in files that have other rows than when they were planned."""
        position = self.next_at(step)
        moved = replace(
            planned,
            start_step=step,
            start_file=position.file,
            start_place=min(position.place, planned.ends[position.file]),
            lr_start=self.lr_position(step),
            lr_steps=self.lr_steps,
        )
        return replace(moved, lr_rescaled_at=moved.rows_at(step))

    def _with_rescaled_lr(self, step: int) -> "RowSchedule":
        return replace(self, lr_rescaled_at=self.rows_at(step), lr_start=self.lr_position(step))

    @cached_property
    def _first_steps(self) -> list[int]:
        """Steps done before each file, and after the last."""
        return list(accumulate(map(self._num_steps, range(self.num_files)), initial=self.start_step))

    @cached_property
    def _rows_before(self) -> list[int]:
        """Rows consumed before each file, and after the last."""
        return list(accumulate(self.ends, initial=0))

    def _start_of(self, file: int) -> int:
        return self.start_place if file == self.start_file else 0

    def _num_steps(self, file: int) -> int:
        """Steps over a file, after the start of the schedule."""
        if file < self.start_file:
            return 0
        if start := self._start_of(file):
            return self.step_size.steps(self.ends[file] - start)
        epochs, rest = divmod(self.ends[file], self.rows[file])
        return epochs * self.step_size.steps(self.rows[file]) + self.step_size.steps(rest)

    def _place_in(self, file: int, step: int) -> Position:
        steps = step - self._first_steps[file]
        if start := self._start_of(file):
            place = start + self.step_size.rows_in(steps)
        else:
            place = self.step_size.rows_after(steps, self.rows[file])
        return Position(file, min(place, self.ends[file]))

    def _segments(self, position: Position) -> Iterator[Segment]:
        """Segments from the one that holds `position`."""
        for file in range(position.file, self.num_files):
            num_rows, end = self.rows[file], self.ends[file]
            if start := self._start_of(file):
                yield Segment(file, start, end)
                continue
            place = position.place if file == position.file else 0
            for segment_start in range(place - place % num_rows, end, num_rows):
                yield Segment(file, segment_start, min(segment_start + num_rows, end))


def _ends(training: TrainingConfig, rows: Sequence[int], step_size: StepSize) -> list[int]:
    """Rows trained of each file: `num_train_epochs`, as far as `max_steps`, the limit for all of them, allows."""
    steps_left = training.max_steps
    ends = []
    for num_rows in rows:
        steps = math.ceil(training.num_train_epochs * step_size.steps(num_rows))
        steps += -steps % step_size.steps_per_answer
        if steps_left is not None:
            steps = min(steps, steps_left)
            steps_left -= steps
        ends.append(step_size.rows_after(steps, num_rows))
    return ends

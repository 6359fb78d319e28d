"""The order in which a run takes the rows of its files."""

import math
from collections.abc import Iterator
from itertools import chain, cycle, islice

import torch

from train.row_schedule import RowSchedule, Segment


def row_order(seed: int, num_rows: int, start: int, end: int) -> Iterator[int]:
    """Rows at the places `start` to `end`, counted over all epochs, in the order of transformers and accelerate."""
    for epoch in range(start // num_rows, math.ceil(end / num_rows)):
        order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed + epoch))
        first = epoch * num_rows
        yield from order[max(0, start - first) : max(0, end - first)].tolist()


def file_order(schedule: RowSchedule, seed: int, file: int, start: int, end: int) -> Iterator[int]:
    """Rows of a file at its places `start` to `end`; every file is shuffled in its own way."""
    return row_order(seed + file, schedule.rows[file], start, end)


class SegmentSampler(torch.utils.data.Sampler[int]):
    """The rows of one segment, as indexes into all files one after another."""

    def __init__(self, schedule: RowSchedule, segment: Segment, seed: int) -> None:
        self._schedule = schedule
        self._segment = segment
        self._seed = seed

    def __len__(self) -> int:
        return self._segment.num_rows

    def __iter__(self) -> Iterator[int]:
        segment = self._segment
        first = sum(self._schedule.rows[: segment.file])
        return (first + row for row in file_order(self._schedule, self._seed, segment.file, segment.start, segment.end))


class GenerationSampler(SegmentSampler):
    """The prompts of one segment for TRL's `GRPOTrainer`, in the order of its `RepeatSampler`.

    Every prompt of a step is repeated once for each of its answers, and the prompts of a step as often as their batch
    is read: once for every pass that trains it. Where the last step of a segment has too few prompts, it takes the
    first ones of the segment once more, since all steps generate equally many answers.
    """

    def __len__(self) -> int:
        return math.ceil(self._segment.num_rows / self._num_prompts) * self._num_prompts * self._num_repeats

    def __iter__(self) -> Iterator[int]:
        rows = list(super().__iter__())
        answers = self._schedule.step_size.answers_per_row
        filled = chain(rows, islice(cycle(rows), -len(rows) % self._num_prompts))
        while prompts := list(islice(filled, self._num_prompts)):
            batch = [row for row in prompts for _ in range(answers)]
            for _ in range(self._num_repeats // answers):
                yield from batch

    @property
    def _num_prompts(self) -> int:
        return self._schedule.step_size.rows_per_step

    @property
    def _num_repeats(self) -> int:
        size = self._schedule.step_size
        return size.answers_per_row * size.steps_per_answer * size.accumulation

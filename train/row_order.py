"""The order in which a run takes the rows of its files."""

import math
from collections.abc import Iterator
from itertools import chain, cycle, islice

import torch

from train.dataset_mix import Mix
from train.row_schedule import RowSchedule, Segment


def row_order(seed: int, num_rows: int, start: int, end: int) -> Iterator[int]:
    """Rows at the places `start` to `end`, counted over all epochs, in the order of transformers and accelerate."""
    for epoch in range(start // num_rows, math.ceil(end / num_rows)):
        order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed + epoch))
        first = epoch * num_rows
        yield from order[max(0, start - first) : max(0, end - first)].tolist()


def mixed_order(mix: Mix, seed: int, start: int, end: int) -> Iterator[int]:
    """Rows of a mix at the places `start` to `end`, as indexes into all datasets one after another."""
    for epoch in range(start // mix.num_rows, math.ceil(end / mix.num_rows)):
        first = epoch * mix.num_rows
        yield from _mixed_epoch(mix, seed, epoch)[max(0, start - first) : max(0, end - first)].tolist()


def _mixed_epoch(mix: Mix, seed: int, epoch: int) -> torch.Tensor:
    """The rows of one epoch; those of each dataset continue where its last epoch ended."""
    places = torch.randperm(mix.num_rows, generator=torch.Generator().manual_seed(seed + epoch))
    rows = torch.empty(mix.num_rows, dtype=torch.int64)
    num_before = num_placed = 0
    for number, (size, drawn) in enumerate(zip(mix.sizes, mix.draws, strict=True)):
        mine = row_order(seed + number, size, epoch * drawn, (epoch + 1) * drawn)
        rows[places[num_placed : num_placed + drawn]] = torch.tensor(list(mine)) + num_before
        num_before, num_placed = num_before + size, num_placed + drawn
    return rows


def file_order(schedule: RowSchedule, seed: int, file: int, start: int, end: int) -> Iterator[int]:
    """Rows of a file at its places `start` to `end`; every file is shuffled in its own way.

    The datasets of a mix are one file.
    """
    if schedule.mix is not None:
        return mixed_order(schedule.mix, seed, start, end)
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


class DealtBatches(torch.utils.data.Sampler[list[int]]):
    """The batches of one rank: its part of the rows of each pass, which are those of one rank with larger batches.

    No row is repeated: in the last pass, some ranks may have fewer rows than others, or no batch. With
    `has_row_before`, each batch is preceded by the row before it in its pass, the first of a pass by the last one.
    """

    def __init__(
        self, rows: SegmentSampler, batch_size: int, rank: int, num_ranks: int, *, has_row_before: bool = False
    ) -> None:
        self._passes = torch.utils.data.BatchSampler(rows, batch_size * num_ranks, drop_last=False)
        self._num_rows = len(rows)
        self._rows_per_pass = batch_size * num_ranks
        self._start = batch_size * rank
        self._end = self._start + batch_size
        self._has_row_before = has_row_before

    def __len__(self) -> int:
        full, rest = divmod(self._num_rows, self._rows_per_pass)
        return full + (rest > self._start)

    def __iter__(self) -> Iterator[list[int]]:
        for rows in self._passes:
            if mine := rows[self._start : self._end]:
                yield [rows[self._start - 1], *mine] if self._has_row_before else mine


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

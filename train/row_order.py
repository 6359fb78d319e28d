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
    """Batches of a sampler, dealt to the ranks in turn. No row is repeated: the last ranks may have a batch less."""

    def __init__(self, rows: torch.utils.data.Sampler[int], batch_size: int, rank: int, num_ranks: int) -> None:
        self._batches = torch.utils.data.BatchSampler(rows, batch_size, drop_last=False)
        self._rank = rank
        self._num_ranks = num_ranks

    def __len__(self) -> int:
        return len(range(self._rank, len(self._batches), self._num_ranks))

    def __iter__(self) -> Iterator[list[int]]:
        return islice(iter(self._batches), self._rank, None, self._num_ranks)


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

"""Exact means over an eval set, whatever the batch size, the number of workers, packing and the order of the rows.

Each batch contributes sums, and the number of tokens or other items that they cover. They are added in float64 over all
batches and all ranks, and divided once. A mean of batch means would give a token of a short batch more weight.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from accelerate.utils import send_to_device
from peft import PeftModel
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedModel

from train.all_ranks import add_up, largest
from train.loop.fused_head import add_fused_head

Batch = dict[str, Any]
BatchSums = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
"""By metric: its sum over a batch, and the number of tokens, rows or pairs that the sum covers; of an extreme, its
value in the batch in place of the sum."""
Extreme = Literal["min", "max"]


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """The mean of the means of several passes, each of which counts by its number of tokens or rows."""
    products = (value * weight for value, weight in zip(values, weights, strict=True))
    return math.fsum(products) / max(1.0, math.fsum(weights))


class MetricSums:
    """Sums of several metrics, and what each is a mean over; of those in `extremes`, the lowest or highest value."""

    def __init__(
        self, names: Sequence[str], device: torch.device, extremes: Mapping[str, Extreme] | None = None
    ) -> None:
        self._signs = {
            name: 1 if extreme == "max" else -1 for name, extreme in (extremes or {}).items() if name in names
        }
        self._names = [name for name in names if name not in self._signs]
        self._sums = torch.zeros(len(self._names), 2, dtype=torch.float64, device=device)
        self._peaks = torch.full((len(self._signs),), -math.inf, dtype=torch.float64, device=device)

    def add(self, batch: BatchSums) -> None:
        self._sums += torch.stack([torch.stack([value.double() for value in batch[name]]) for name in self._names])
        if self._signs:
            peaks = torch.stack([sign * batch[name][0].double() for name, sign in self._signs.items()])
            self._peaks = torch.maximum(self._peaks, peaks)

    def add_other_ranks(self) -> None:
        """Add the sums of all ranks. Every rank calls it."""
        self._sums = add_up(self._sums)
        if self._signs:
            self._peaks = largest(self._peaks)

    def means(self) -> dict[str, float]:
        """The mean or the extreme of each metric; NaN for one that no batch counted."""
        sums: list[list[float]] = self._sums.tolist()
        means = {
            name: total / weight if weight else math.nan
            for name, (total, weight) in zip(self._names, sums, strict=True)
        }
        peaks: list[float] = self._peaks.tolist()
        extremes = {
            name: math.nan if peak == -math.inf else sign * peak
            for (name, sign), peak in zip(self._signs.items(), peaks, strict=True)
        }
        return means | extremes


class RankBatches(Sampler[list[int]]):
    """Batches of consecutive rows, dealt to the ranks in turn: every row is in one batch of one rank."""

    def __init__(self, num_rows: int, batch_size: int, rank: int = 0, num_ranks: int = 1) -> None:
        self._num_rows = num_rows
        self._batch_size = batch_size
        self._first = rank * batch_size
        self._stride = num_ranks * batch_size

    @property
    def num_passes(self) -> int:
        """Batches of the rank that has the most."""
        return math.ceil(self._num_rows / self._stride)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(self._first, self._num_rows, self._stride):
            yield list(range(start, min(start + self._batch_size, self._num_rows)))


def eval_loader(rows: Dataset[Any], batches: RankBatches, collate: Callable[[list[Any]], Any]) -> DataLoader[Any]:
    return DataLoader(rows, batch_sampler=batches, collate_fn=collate)


def sum_batches(
    loader: DataLoader[Any],
    measure: Callable[[Batch], BatchSums],
    sums: MetricSums,
    after_pass: Callable[[], None],
    *,
    is_sharded: bool = False,
) -> None:
    """Measure each batch of this rank, and add it to `sums`.

    `after_pass` is called equally often on every rank, so that the ranks can agree on something there. So is `measure`
    where the model `is_sharded`, whose passes need every rank: what a rank without a batch measures is not counted.
    """
    assert isinstance(loader.batch_sampler, RankBatches)
    batches = iter(loader)
    with torch.no_grad():
        for _ in range(loader.batch_sampler.num_passes):
            batch = next(batches, None)
            if batch is not None:
                sums.add(measure(batch))
            elif is_sharded:
                measure(loader.collate_fn([loader.dataset[0]]))
            after_pass()


def evaluate_alone(
    model: PreTrainedModel | PeftModel,
    batches: DataLoader[Any],
    measure: Callable[[Batch], BatchSums],
    metrics: Sequence[str],
    after_pass: Callable[[], None],
) -> dict[str, float]:
    """Evaluate a loaded language model without a trainer, with the batches and the sums of one during training."""
    add_fused_head(model, ("log_probs", "entropy", "is_top1"))
    sums = MetricSums(metrics, model.device)
    measure_all(model, batches, measure, sums, after_pass)
    return sums.means()


def measure_all(
    model: PreTrainedModel | PeftModel,
    batches: DataLoader[Any],
    measure: Callable[[Batch], BatchSums],
    sums: MetricSums,
    after_pass: Callable[[], None],
) -> None:
    """Add what `measure` finds in every batch to `sums`, with the model in evaluation mode."""
    model.eval()
    sum_batches(batches, lambda batch: measure(send_to_device(batch, model.device)), sums, after_pass)

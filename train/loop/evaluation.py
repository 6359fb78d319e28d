"""Exact means over an eval set, whatever the batch size, the number of workers, packing and the order of the rows.

Each batch contributes sums, and the number of tokens or other items that they cover. They are added in float64 over all
batches and all ranks, and divided once. A mean of batch means would give a token of a short batch more weight.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from peft import PeftModel
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

from train.all_ranks import add_up

Batch = dict[str, Any]
BatchSums = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
"""By metric: its sum over a batch, and the number of tokens, rows or pairs that the sum covers."""


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """The mean of the means of several passes, each of which counts by its number of tokens or rows."""
    products = (value * weight for value, weight in zip(values, weights, strict=True))
    return math.fsum(products) / max(1.0, math.fsum(weights))


class MetricSums:
    """Sums of several metrics, and what each is a mean over."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self._names = names
        self._sums = torch.zeros(len(names), 2, dtype=torch.float64, device=device)

    def add(self, batch: BatchSums) -> None:
        self._sums += torch.stack([torch.stack([value.double() for value in batch[name]]) for name in self._names])

    def add_other_ranks(self) -> None:
        """Add the sums of all ranks. Every rank calls it."""
        self._sums = add_up(self._sums)

    def means(self) -> dict[str, float]:
        """The mean of each metric; NaN for one that no batch counted."""
        sums: list[list[float]] = self._sums.tolist()
        return {
            name: total / weight if weight else math.nan
            for name, (total, weight) in zip(self._names, sums, strict=True)
        }


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
) -> None:
    """Measure each batch of this rank, and add it to `sums`.

    `after_pass` is called equally often on every rank, so that the ranks can agree on something there.
    """
    assert isinstance(loader.batch_sampler, RankBatches)
    batches = iter(loader)
    with torch.no_grad():
        for _ in range(loader.batch_sampler.num_passes):
            batch = next(batches, None)
            if batch is not None:
                sums.add(measure(batch))
            after_pass()


def evaluate_alone(
    model: PreTrainedModel | PeftModel,
    batches: DataLoader[Any],
    measure: Callable[[Batch], BatchSums],
    metrics: Sequence[str],
    after_pass: Callable[[], None],
) -> dict[str, float]:
    """Evaluate a loaded model without a trainer, with the batches and the sums of an evaluation during training."""
    add_fused_lm_head(
        model.get_base_model() if isinstance(model, PeftModel) else model, outputs=("log_probs", "entropy", "is_top1")
    )
    model.eval()
    sums = MetricSums(metrics, model.device)
    sum_batches(batches, lambda batch: measure(send_to_device(batch, model.device)), sums, after_pass)
    return sums.means()

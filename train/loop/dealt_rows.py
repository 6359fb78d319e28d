"""Training with several workers that equals training with one on the same rows: a mixin over `ExactResume`.

Accelerate repeats rows where those of an epoch do not fill a batch for every worker. Here no row is trained twice: in
the last pass of an epoch, a worker may have a smaller batch than the others, or takes part without rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, ClassVar

import torch
from torch.utils.data import DataLoader
from transformers.trainer_utils import seed_worker

from train.loop.evaluation import Batch
from train.loop.exact_resume import ExactResume
from train.row_order import DealtBatches

WITHOUT_ROWS = "without_rows"
"""Key of a batch whose rows only give the model an input: they count in no loss, metric or number."""


class DealtRows(ExactResume):
    """Deals the rows of each pass to the workers.

    A trainer whose loss is a mean over rows counts them with `_rows_of_step`, calls TRL's `compute_loss` in the context
    `_joining`, and weights the loss with `_by_rows`.
    """

    texts_per_row: ClassVar[int] = 1
    """Texts of a row in `input_ids` of a batch."""
    has_row_before: ClassVar[bool] = False
    """Whether `dealt_collator` gets the row before the batch, too (`DealtBatches`)."""

    def get_train_dataloader(self) -> DataLoader[Any]:
        args = self.args
        if args.world_size == 1:
            return super().get_train_dataloader()
        return DataLoader(
            self._remove_unused_columns(self.train_dataset, description="training"),
            batch_sampler=self._dealt_batches(args.process_index),
            collate_fn=self.dealt_collator,
            num_workers=args.dataloader_num_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            pin_memory=args.dataloader_pin_memory,
            worker_init_fn=partial(seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
        )

    def _dealt_batches(self, rank: int) -> DealtBatches:
        rows = self._get_train_sampler()
        assert rows is not None
        size = self.args.per_device_train_batch_size
        return DealtBatches(rows, size, rank, self.args.world_size, has_row_before=self.has_row_before)

    @property
    def dealt_collator(self) -> Callable[[list[Any]], Batch]:
        """Makes a batch of the rows that are dealt to a worker."""
        collator: Callable[[list[Any]], Batch] = self.data_collator
        return collator

    def get_batch_samples(self, epoch_iterator: Iterator[Batch], *args: Any) -> Any:
        """The batches of a step. Where the last pass of an epoch has none for this rank, it takes part without rows."""
        return super().get_batch_samples(chain(epoch_iterator, self._stand_ins()), *args)

    def _stand_ins(self) -> Iterator[Batch]:
        if self.args.world_size > 1:
            yield self.stand_in()

    def stand_in(self) -> Batch:
        """The batch of a worker without rows."""
        first = next(iter(self._dealt_batches(rank=0)))[: 1 + self.has_row_before]
        return {**self.dealt_collator([self.train_dataset[row] for row in first]), WITHOUT_ROWS: True}

    def _num_rows(self, batch: Batch) -> int:
        return 0 if WITHOUT_ROWS in batch else len(batch["input_ids"]) // self.texts_per_row

    def _rows_of_step(self, batches: Sequence[Batch]) -> torch.Tensor:
        """Rows of a step over all ranks, from the batches of this one. Every rank calls it."""
        num_rows = sum(map(self._num_rows, batches))
        return self.accelerator.gather(torch.tensor(num_rows, device=self.args.device)).sum()

    def _by_rows(self, loss: Any, num_rows: int, rows_of_step: torch.Tensor) -> Any:
        """The loss of a pass over `num_rows`, weighted so that a step has the mean over its rows."""
        # The gradients of the ranks are averaged.
        return loss * (num_rows * self.args.world_size / rows_of_step)

    @contextmanager
    def _joining(self, batch: Batch) -> Iterator[list[int]]:
        """The rows of a pass on each rank. In this context, what TRL gathers is `joined`. Every rank calls it."""
        num_rows = self._num_rows(batch)
        batch.pop(WITHOUT_ROWS, None)
        gather = self.accelerator.gather
        rows = gather(torch.tensor([num_rows], device=self.args.device)).tolist()
        if len(set(rows)) == 1:
            yield rows
            return
        self.accelerator.gather = partial(joined, gather, rows, self.args.process_index)
        try:
            yield rows
        finally:
            del self.accelerator.gather


def joined(
    gather: Callable[[torch.Tensor], torch.Tensor], rows: Sequence[int], rank: int, values: torch.Tensor
) -> torch.Tensor:
    """The values of all ranks in their order, without those of ranks that have no rows.

    Args:
        gather: joins values of the same shape.
        rows: number of rows of each rank.
        rank: number of this rank.
        values: one number, or equally many for each row of this rank; a rank without rows passes those of one row.
    """
    values = values.detach()
    if values.dim() == 0:
        values, sizes = values[None], [min(number, 1) for number in rows]
    else:
        sizes = [number * len(values) // max(rows[rank], 1) for number in rows]
    padded = values.new_zeros(max(sizes), *values.shape[1:])
    padded[: len(values)] = values
    return torch.cat([part[:size] for part, size in zip(gather(padded).chunk(len(rows)), sizes, strict=True)])

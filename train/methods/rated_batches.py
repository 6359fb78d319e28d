"""Batches of rated answers, and the pairs of a prompt and another row's answer from which the KL term is estimated.

KTO estimates how far the model has moved from the reference by answers that do not belong to their prompts. In
training, each prompt is paired with the answer of the row before it in its pass, the first with that of the last, as
TRL does in a batch. So the pairs depend on the rows of a pass, over all workers, and on nothing else. In an evaluation
they must not depend on the batch size: each prompt is paired with the answer of the row before it in the eval dataset,
the first with that of the last.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch.utils.data import BatchSampler
from trl.trainer.utils import pad

from train.data.tokens.encode import IGNORE
from train.loop.evaluation import Batch
from train.methods.reference import Logps
from train.row_order import SegmentSampler
from train.row_schedule import RowSchedule

OWN, KL = "", "KL_"
"""Prefixes of TRL's keys: a row's own answer, and the answer of another row after its prompt."""
ROW_NUMBER = "row_number"
"""Column that is added where the reference is looked up by pair."""
Row = dict[str, Any]
RowPair = tuple[Row, Row]
"""A row, and the row whose answer follows its prompt in the KL term."""
RowNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PairedLogps:
    """Log-probabilities that the reference gives the KL answers of all batches of a run."""

    pairs: RowNumbers
    """Numbers of both rows (pairs x 2), in ascending order."""
    logps: Logps

    def of(self, row: int, partner: int) -> float:
        first, last = np.searchsorted(self.pairs[:, 0], [row, row + 1])
        place = first + np.searchsorted(self.pairs[first:last, 1], partner)
        assert self.pairs[first:last, 1].tolist().count(partner) == 1, "a pair that is in no batch of the schedule"
        return float(self.logps[place])


class RatedCollator:
    """Makes TRL's batches of rated answers. Called with rows, it pairs each one with the row before it."""

    def __init__(self, pad_token_id: int, max_length: int) -> None:
        self._pad_token_id = pad_token_id
        self._max_length = max_length
        self.reference: PairedLogps | None = None
        """Where the KL answers of training find their reference, if that is computed ahead."""

    def __call__(self, rows: list[Row]) -> Batch:
        return self.preceded([rows[-1], *rows])

    def preceded(self, rows: list[Row]) -> Batch:
        """A batch of all rows but the first, each paired with the one before it."""
        pairs = list(zip(rows[1:], rows, strict=False))
        batch = self.of_pairs(pairs)
        if self.reference is not None:
            known = [self.reference.of(row[ROW_NUMBER], partner[ROW_NUMBER]) for row, partner in pairs]
            batch["ref_KL_logps"] = torch.tensor(known)
        return batch

    def of_pairs(self, pairs: Sequence[RowPair]) -> Batch:
        rows = [row for row, _ in pairs]
        batch = self._texts(OWN, [(row["input_ids"], row["labels"]) for row in rows])
        batch |= self._texts(KL, [_mismatched(row, partner, self._max_length) for row, partner in pairs])
        batch["label"] = torch.tensor([bool(row["is_desirable"][0]) for row in rows])
        known = {name: torch.tensor([row[name] for row in rows]) for name in _REFERENCE if name in rows[0]}
        return batch | known

    def _texts(self, prefix: str, texts: list[tuple[list[int], list[int]]]) -> Batch:
        ids, labels = ([torch.tensor(text[part]) for text in texts] for part in (0, 1))
        return {
            f"{prefix}input_ids": pad(ids, padding_value=self._pad_token_id),
            f"{prefix}attention_mask": pad([torch.ones_like(text) for text in ids], padding_value=0),
            f"{prefix}completion_mask": pad([(text != IGNORE).long() for text in labels], padding_value=0),
        }


_REFERENCE = ("ref_logps", "ref_KL_logps")


class PairedRows(torch.utils.data.Dataset[RowPair]):
    """Rows of a dataset with the rows whose answers they are paired with."""

    def __init__(self, rows: Dataset, pairs: RowNumbers) -> None:
        self._rows = rows
        self._pairs = pairs

    @classmethod
    def by_index(cls, rows: Dataset) -> "PairedRows":
        """Every row with the one before it, whatever the batches."""
        numbers = np.arange(len(rows))
        return cls(rows, np.stack([numbers, np.roll(numbers, 1)], axis=1))

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, number: int) -> RowPair:
        row, partner = self._pairs[number].tolist()
        return self._rows[row], self._rows[partner]


def pairs_of(schedule: RowSchedule, seed: int, tried: Sequence[int] = ()) -> RowNumbers:
    """Every pair in the passes of a run once (pairs x 2), in ascending order.

    `tried` are the rows of the memory probe before the first step.
    """
    num_rows = sum(schedule.rows if schedule.mix is None else schedule.mix.sizes)
    keys = (
        row * num_rows + batch[place - 1]
        for batch in chain([tried], _passes(schedule, seed))
        for place, row in enumerate(batch)
    )
    return np.stack(np.divmod(np.unique(np.fromiter(keys, np.int64)), num_rows), axis=1)


def _passes(schedule: RowSchedule, seed: int) -> Iterator[list[int]]:
    """The rows of each pass over all workers."""
    size = schedule.step_size
    for segment in schedule.segments_from(schedule.start_step)[0]:
        yield from BatchSampler(SegmentSampler(schedule, segment, seed), size.rows_per_pass, drop_last=False)


def _mismatched(row: Row, partner: Row, max_length: int) -> tuple[list[int], list[int]]:
    """Ids and labels of the prompt of `row` with the answer of `partner`, cut like any row."""
    prompt = row["input_ids"][: _answer_start(row)]
    start = _answer_start(partner)
    ids = prompt + partner["input_ids"][start:]
    labels = [IGNORE] * len(prompt) + partner["labels"][start:]
    return ids[:max_length], labels[:max_length]


def _answer_start(row: Row) -> int:
    return next(place for place, label in enumerate(row["labels"]) if label != IGNORE)

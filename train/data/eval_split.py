"""The split of a job's rows into training rows and evaluation rows (`eval_split` of a job's config).

Whether a row is held out depends on its content (`train.data.row_keys`) and on the seed, not on its place in the file:
equal rows are always on one side. The split is not stored: every attempt, worker and machine computes the same one.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from train.data.rows.errors import DatasetInvalidError
from train.data.split_spec import SplitSpec, no_eval_rows

Keys = npt.NDArray[np.uint64]
"""A 64-bit hash of the identity of each row; rows with the same key are on the same side."""


@dataclass(frozen=True, eq=False)
class RowSelection:
    """The rows of a file on one side of a split, by a flag for each row of the file."""

    flags: npt.NDArray[np.bool_]

    @cached_property
    def num_rows(self) -> int:
        """Number of selected rows."""
        return int(self.flags.sum())

    @cached_property
    def digest(self) -> str:
        """Hash of the selection, which prepared data of this selection is named by."""
        return hashlib.sha256(np.packbits(self.flags).tobytes() + str(len(self.flags)).encode()).hexdigest()

    def numbers(self) -> Iterator[int]:
        """Numbers of the selected rows; the first row of the file is 1."""
        return iter((np.flatnonzero(self.flags) + 1).tolist())


@dataclass(frozen=True)
class FileSplit:
    """The two sides of one file."""

    train: RowSelection
    eval: RowSelection
    """Rows to evaluate on. Held-out rows of an appended file are on neither side: their equals are evaluated."""


def split_rows(files: Sequence[Keys], spec: SplitSpec) -> list[FileSplit]:
    """Split the rows of all files, given by their keys. Deterministic.

    Each file gives its share of rows in whole groups of equal rows, chosen in a random order. Rows that equal one of an
    earlier file follow that one, so later files do not change the split of earlier ones.
    """
    held_out = _held_out(files, spec)
    num_shared = len(files) if spec.files is None else spec.files
    nothing = [np.zeros_like(flags) for flags in held_out]
    return [
        FileSplit(RowSelection(~flags), RowSelection(flags if number < num_shared else none))
        for number, (flags, none) in enumerate(zip(held_out, nothing, strict=True))
    ]


def _held_out(files: Sequence[Keys], spec: SplitSpec) -> list[npt.NDArray[np.bool_]]:
    ends = np.cumsum([len(keys) for keys in files])
    groups, first_rows, group_of = np.unique(np.concatenate(files), return_index=True, return_inverse=True)
    first_files = np.searchsorted(ends, first_rows, side="right")
    order = _shuffled(groups, spec.seed)
    is_held_out = np.zeros(len(groups), dtype=np.bool_)
    found = []
    for number, mine in enumerate(np.split(group_of, ends[:-1])):
        if spec.files is None or number < spec.files:
            present, counts = np.unique(mine, return_counts=True)
            is_new = first_files[present] == number
            wanted = spec.num_held_out(len(mine)) - int(counts[is_held_out[present]].sum())
            present, counts = present[is_new], counts[is_new]
            by_chance = np.argsort(order[present], kind="stable")
            is_held_out[list(_whole_groups(present[by_chance], counts[by_chance], wanted))] = True
        found.append(is_held_out[mine])
    return found


def _whole_groups(groups: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], wanted: int) -> Iterator[int]:
    """The first groups that have at most `wanted` rows together; one that has more than what is left is skipped."""
    for group, count in zip(groups.tolist(), counts.tolist(), strict=True):
        if wanted <= 0:
            return
        if count <= wanted:
            wanted -= count
            yield group


def _shuffled(keys: Keys, seed: int) -> Keys:
    """Random numbers by key and seed, different for different keys (SplitMix64; Steele, Lea, Flood 2014)."""
    mixed = keys + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def check_sides(splits: Sequence[FileSplit], files: Sequence[Keys], spec: SplitSpec, names: Sequence[str]) -> None:
    """Raise `DatasetInvalidError` for a split without evaluation rows, or for a file without training rows."""
    if not any(split.eval.num_rows for split in splits):
        raise DatasetInvalidError(no_eval_rows(spec, _smallest_groups(files[: spec.files])), param="eval_split")
    for split, name in zip(splits, names, strict=True):
        if not split.train.num_rows:
            raise DatasetInvalidError(
                f"Every row of dataset {name} equals a row that eval_split sets aside for evaluation, so none is left "
                "to train on; leave this dataset out, or set another eval_split_seed.",
                param="eval_split",
            )


def _smallest_groups(files: Iterable[Keys]) -> Iterator[tuple[int, int]]:
    for keys in files:
        _, counts = np.unique(keys, return_counts=True)
        yield int(counts.min()), len(keys)

"""Settings of the split of a job's rows, for processes that split none: without NumPy."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction

from ftlab.schemas import JobConfig

_ROUNDING = Fraction(1, 10**9)
"""Added before a number of rows is rounded down, so that 1/3 as a float is a third of 3 rows."""
_SHARE = Context(prec=6, rounding=ROUND_CEILING)


@dataclass(frozen=True)
class SplitSpec:
    """Settings of a split, named in a job's config with the prefix `eval_split`."""

    share: float
    """Share of each file's rows to hold out, above 0 and below 1; the number of rows is rounded down."""
    seed: int
    files: int | None = None
    """Number of files, from the first, that the share is taken from; `None` is all. The rows of the other files are
    trained, except those that equal a held-out row."""
    by_prompt: bool = False
    """Whether conversations with the same prompt are equal, whatever their answers are."""

    @classmethod
    def of(cls, config: JobConfig) -> "SplitSpec | None":
        """The split of a job; `None` for a job without one."""
        if config.eval_split is None:
            return None
        by_prompt = config.method.learns_from_prompts
        return cls(config.eval_split, config.eval_split_seed, config.eval_split_files, by_prompt)

    def num_held_out(self, num_rows: int) -> int:
        """Number of rows to hold out of a file of `num_rows`."""
        return int(Fraction(str(self.share)) * num_rows + _ROUNDING)


def no_eval_rows(spec: SplitSpec, groups: Iterable[tuple[int, int]]) -> str:
    """The message for a split that leaves no row to evaluate on, with the smallest share that works.

    `groups` are the size of the smallest group of equal rows and the number of rows, of each file.
    """
    smallest = min((_SHARE.divide(Decimal(size), Decimal(rows)) for size, rows in groups if rows), default=Decimal(1))
    what = f"eval_split {spec.share:g} leaves no row to evaluate on"
    if smallest >= 1:
        return f"{what}, and so does every other share, because all rows are equal; set eval_dataset instead."
    return f"{what}; the smallest share that works is {_plain(smallest)}."


def _plain(share: Decimal) -> str:
    return f"{share:f}".rstrip("0")

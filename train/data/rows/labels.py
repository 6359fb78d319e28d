"""Labels of rated answers: their balance, and the weights that restore it."""

from collections.abc import Iterator
from dataclasses import dataclass

from ftlab.schemas.check_rules import CheckRule
from train.data.rows.canonical import Row
from train.data.rows.errors import DatasetInvalidError

BALANCED = (1.0, 4 / 3)
"""Ratio of the weights on good and on bad answers that the KTO paper advises (arXiv 2402.01306, equation 8)."""
UNBALANCED = 2.0
"""Ratio of the weights on the answers with one label and on the others above which this is reported."""


@dataclass
class LabelCounts:
    """Counts the rated answers that are trained on."""

    num_good: int = 0
    num_bad: int = 0

    def add(self, row: Row) -> None:
        if "label" in row:
            self.num_good += row["label"]
            self.num_bad += not row["label"]

    def findings(self, desirable_weight: float, undesirable_weight: float) -> Iterator[tuple[CheckRule, str]]:
        """What is wrong with the labels; nothing for rows without."""
        if why := why_one_label(self.num_good, self.num_good + self.num_bad):
            yield CheckRule.ONE_LABEL, why
        if not self.num_good or not self.num_bad:
            return
        good, bad = self.num_good * desirable_weight, self.num_bad * undesirable_weight
        if max(good, bad) <= UNBALANCED * min(good, bad):
            return
        # The weight of the rarer label is raised, so that the ratio of good to bad answers is that of the paper.
        if good > bad:
            name, bounds = "method.undesirable_weight", [good / self.num_bad / ratio for ratio in reversed(BALANCED)]
        else:
            name, bounds = "method.desirable_weight", [bad / self.num_good * ratio for ratio in BALANCED]
        yield (
            CheckRule.UNBALANCED_LABELS,
            f"{self.num_good:,} of the answers are rated good and {self.num_bad:,} bad. Set {name} to a value from "
            f"{bounds[0]:.3g} to {bounds[1]:.3g}, or balance the rows.",
        )


def refuse_one_label(num_good: int, num_rated: int) -> None:
    """Raise `DatasetInvalidError` for rated answers that all have the same label."""
    if why := why_one_label(num_good, num_rated):
        raise DatasetInvalidError(why)


def why_one_label(num_good: int, num_rated: int) -> str | None:
    """Why a job cannot learn from rated answers that all have the same label; `None` where there are both, or none."""
    if not num_rated or 0 < num_good < num_rated:
        return None
    label, other = ("good", "bad") if num_good else ("bad", "good")
    return (
        f"All {num_rated:,} answers to train on are rated {label}, so there is no contrast to learn from. Add answers "
        f"that are rated {other}, or train on the good ones as conversations with method 'sft'."
    )

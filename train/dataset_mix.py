"""Several datasets mixed by weight (`dataset_weights` of a job's config).

An epoch takes as many rows as the datasets have together, and of each dataset its share by weight. Rows are drawn
without replacement: every row of a dataset is drawn once before any of them is drawn again, across the ends of epochs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig


def mix_of(config: JobConfig, sizes: Sequence[int]) -> "Mix | None":
    """The mix of a job whose datasets have `sizes` rows; `None` for a job without weights.

    Raise what `Mix.of` raises.
    """
    if config.dataset_weights is None:
        return None
    return Mix.of(config.dataset_weights, sizes, config.datasets)


@dataclass(frozen=True)
class Mix:
    """How many rows of each dataset an epoch takes."""

    sizes: tuple[int, ...]
    """Rows of each dataset, as the trainer reads them."""
    draws: tuple[int, ...]
    """Rows of each dataset that one epoch takes; a dataset is repeated where this is above its size."""

    @classmethod
    def of(cls, weights: Sequence[float], sizes: Sequence[int], names: Sequence[str]) -> "Mix":
        """Share an epoch out by weight, rounded by the largest remainders.

        Raise `InvalidRequestError` (`dataset_invalid`) for a dataset, one of `names`, that gets no row.
        """
        exact = [Fraction(str(weight)) for weight in weights]
        quotas = [weight * sum(sizes) / sum(exact) for weight in exact]
        draws = [math.floor(quota) for quota in quotas]
        by_remainder = sorted(range(len(quotas)), key=lambda number: draws[number] - quotas[number])
        for number in by_remainder[: sum(sizes) - sum(draws)]:
            draws[number] += 1
        if 0 in draws:
            name, weight = names[draws.index(0)], weights[draws.index(0)]
            raise InvalidRequestError(
                f"With weight {weight:g} of {float(sum(exact)):g}, none of the {sum(sizes)} rows of an epoch is of "
                f"dataset {name}; raise its weight in dataset_weights, or leave it out.",
                "dataset_invalid",
                "dataset_weights",
            )
        return cls(tuple(sizes), tuple(draws))

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> "Mix | None":
        """Undo `dataclasses.asdict`."""
        return cls(tuple(document["sizes"]), tuple(document["draws"])) if document else None

    @property
    def num_rows(self) -> int:
        """Rows of an epoch."""
        return sum(self.draws)

    def describe(self, names: Sequence[str]) -> str:
        """A sentence with the rows that an epoch takes of each dataset, and how often it repeats them."""
        parts = [
            f"{drawn} of {name} ({drawn / size:.2f} times its {size} rows)"
            for name, size, drawn in zip(names, self.sizes, self.draws, strict=True)
        ]
        return f"Each epoch mixes {self.num_rows} rows: {', '.join(parts)}."

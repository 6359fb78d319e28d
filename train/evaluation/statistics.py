"""Intervals and tests by resampling, with a seed. Pure functions over the numbers of each row."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
"""The numbers of each row of one model: rows x numbers."""
Value = Callable[[Matrix], float]
"""The value of a metric, from the sums over some rows."""

RESAMPLES = 1000
CONFIDENCE = 0.95
_CHUNK = 100
"""Selections of rows that are in memory at a time."""


def interval(numbers: Matrix, value: Value, seed: int) -> tuple[float, float] | None:
    """The 95 % interval of a metric by the percentile bootstrap; `None` for fewer than two rows.

    Rows are drawn with replacement `RESAMPLES` times (Efron, 1979).
    """
    num_rows = len(numbers)
    if num_rows < 2:
        return None
    random = np.random.default_rng(seed)
    shares = np.full(num_rows, 1.0 / num_rows)
    values: list[float] = []
    while len(values) < RESAMPLES:
        counts = random.multinomial(num_rows, shares, size=min(_CHUNK, RESAMPLES - len(values)))
        values += [value(sums) for sums in counts @ numbers]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def permutation_p_value(one: Matrix, other: Matrix, value: Value, seed: int) -> float | None:
    """The two-sided p-value of the difference between two models that answered the same rows.

    In a paired permutation test, each row is swapped between the models with a probability of one half, `RESAMPLES`
    times; p is the share of the differences that are at least as large, with the observed one among them (Phipson and
    Smyth, 2010). `None` for fewer than two rows.
    """
    num_rows = len(one)
    if num_rows < 2:
        return None
    random = np.random.default_rng(seed)
    total_one, total_other, swap = one.sum(axis=0), other.sum(axis=0), other - one
    observed = abs(value(total_one) - value(total_other))
    num_as_large = num_done = 0
    while num_done < RESAMPLES:
        flips = random.integers(0, 2, size=(min(_CHUNK, RESAMPLES - num_done), num_rows))
        for moved in flips @ swap:
            difference = abs(value(total_one + moved) - value(total_other - moved))
            # Sums in another order may differ in their last bits.
            num_as_large += difference >= observed - 1e-12 * max(1.0, observed)
        num_done += len(flips)
    return (num_as_large + 1) / (RESAMPLES + 1)

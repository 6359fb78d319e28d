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


def interval(numbers: Matrix, value: Value, seed: int, *, is_share: bool = False) -> tuple[float, float] | None:
    """The 95 % interval of a metric by the percentile bootstrap; `None` for fewer than two rows.

    Rows are drawn with replacement `RESAMPLES` times (Efron, 1979). Rows that are all equal would give an interval
    without a width, however few they are. For a metric that `is_share`, of rows that are all right or all wrong, it is
    that of Clopper and Pearson (1934) instead; for others, there is none.
    """
    num_rows = len(numbers)
    if num_rows < 2:
        return None
    if (numbers == numbers[0]).all():
        return _interval_of_equal_rows(value(numbers.sum(axis=0)), num_rows) if is_share else None
    random = np.random.default_rng(seed)
    shares = np.full(num_rows, 1.0 / num_rows)
    values: list[float] = []
    while len(values) < RESAMPLES:
        counts = random.multinomial(num_rows, shares, size=min(_CHUNK, RESAMPLES - len(values)))
        values += [value(sums) for sums in counts @ numbers]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def _interval_of_equal_rows(share: float, num_rows: int) -> tuple[float, float]:
    """The interval of a share that is 0 or 1 in all rows."""
    width = 1 - ((1 - CONFIDENCE) / 2) ** (1 / num_rows)
    return (1 - width, 1.0) if share else (0.0, width)


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

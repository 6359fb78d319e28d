"""Lengths of rows, and the share of computation that padding or packing wastes."""

from collections import Counter
from collections.abc import Iterable, Sequence

from ftlab.schemas.checks import LengthBin, Lengths
from train.data.tokens.pack import best_fit, piece_lengths

EXACT_UP_TO = 65_536
"""Longer lengths are rounded down to a multiple of 1,024 tokens, so that few different ones are stored."""
BINS = 20
PACKED_ROWS = 20_000
"""Maximum number of rows that packing is tried with; larger datasets are sampled in proportion to their lengths."""
STEP = 64
KEPT_WHOLE = 0.99


class LengthCounts:
    """Number of rows by length in tokens."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, lengths: Iterable[int]) -> None:
        self._counts.update(length if length <= EXACT_UP_TO else length // 1024 * 1024 for length in lengths)

    @property
    def num_rows(self) -> int:
        return self._counts.total()

    @property
    def mean(self) -> float:
        return sum(length * number for length, number in self._counts.items()) / max(1, self.num_rows)

    def quantile(self, share: float) -> int:
        """The smallest length that at least this share of the rows does not exceed; 0 without rows."""
        seen = 0
        for length, number in sorted(self._counts.items()):
            seen += number
            if seen >= share * self.num_rows:
                return length
        return 0

    def summary(self) -> Lengths:
        return Lengths(
            mean=round(self.mean, 1),
            p50=self.quantile(0.5),
            p90=self.quantile(0.9),
            p99=self.quantile(0.99),
            longest=max(self._counts, default=0),
            bins=self._bins(),
        )

    def suggested_max_length(self) -> int:
        """The smallest multiple of 64 that holds 99 % of the rows whole."""
        return max(1, -(-self.quantile(KEPT_WHOLE) // STEP)) * STEP

    def padding_fraction(self, batch_size: int) -> float:
        """The expected share of padding in a batch of rows drawn at random, each padded to the longest of them.

        The longest of n rows is at most l with probability F(l)^n.
        """
        if not self.num_rows:
            return 0.0
        expected_longest = below = seen = 0.0
        for length, number in sorted(self._counts.items()):
            seen += number
            up_to = (seen / self.num_rows) ** batch_size
            expected_longest += length * (up_to - below)
            below = up_to
        return round(1 - self.mean / expected_longest, 4) if expected_longest else 0.0

    def packing_waste(self, capacity: int) -> float:
        """The share of positions left empty when the rows are packed into sequences of `capacity` tokens."""
        lengths = [piece for length in self._sample() for piece in piece_lengths(length, capacity)]
        if not lengths:
            return 0.0
        return round(1 - sum(lengths) / (len(best_fit(lengths, capacity)) * capacity), 4)

    def _sample(self) -> Sequence[int]:
        scale = min(1.0, PACKED_ROWS / max(1, self.num_rows))
        lengths: list[int] = []
        wanted = 0.0
        for length, number in sorted(self._counts.items()):
            wanted += number * scale
            if length:
                lengths += [length] * round(wanted - len(lengths))
        return lengths

    def _bins(self) -> list[LengthBin]:
        """At most twenty bins of a width of 1, 2 or 5 times a power of ten; empty ones at both ends are left out."""
        if not self._counts:
            return []
        width = _round_width(max(self._counts) / BINS)
        numbers: Counter[int] = Counter()
        for length, number in self._counts.items():
            numbers[length // width] += number
        places = range(min(numbers), max(numbers) + 1)
        return [
            LengthBin(first=place * width, last=(place + 1) * width - 1, num_rows=numbers[place]) for place in places
        ]


def _round_width(least: float) -> int:
    width = 1
    while True:
        for factor in (1, 2, 5):
            if width * factor > least:
                return width * factor
        width *= 10

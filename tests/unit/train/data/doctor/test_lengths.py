"""Lengths and waste: against brute force."""

import random
from itertools import pairwise

import pytest

from train.data.doctor import lengths as module
from train.data.doctor.lengths import LengthCounts
from train.data.tokens.pack import best_fit

RNG = random.Random(3)
LENGTHS = [RNG.randrange(5, 400) for _ in range(3_000)]


def counts(lengths: list[int]) -> LengthCounts:
    made = LengthCounts()
    made.add(lengths)
    return made


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_padding_is_what_random_batches_have(batch_size: int):
    real = padded = 0
    for _ in range(3_000):
        batch = RNG.choices(LENGTHS, k=batch_size)
        real += sum(batch)
        padded += max(batch) * batch_size
    assert counts(LENGTHS).padding_fraction(batch_size) == pytest.approx(1 - real / padded, abs=0.02)


def test_rows_of_one_length_need_no_padding():
    assert counts([17] * 100).padding_fraction(8) == 0
    assert LengthCounts().padding_fraction(8) == 0


def test_packing_waste_is_that_of_the_packing(monkeypatch: pytest.MonkeyPatch):
    waste = 1 - sum(LENGTHS) / (len(best_fit(LENGTHS, 512)) * 512)
    assert counts(LENGTHS).packing_waste(512) == pytest.approx(waste, abs=1e-4)
    monkeypatch.setattr(module, "PACKED_ROWS", 500)
    assert counts(LENGTHS).packing_waste(512) == pytest.approx(waste, abs=0.03)
    assert LengthCounts().packing_waste(512) == 0
    assert counts([1024]).packing_waste(512) == 0


def test_quantiles_and_the_suggested_length():
    made = counts(list(range(1, 101)))
    assert [made.quantile(share) for share in (0.01, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert made.suggested_max_length() == 128
    assert LengthCounts().suggested_max_length() == 64
    summary = made.summary()
    assert (summary.mean, summary.p50, summary.p90, summary.p99, summary.longest) == (50.5, 50, 90, 99, 100)


@pytest.mark.parametrize("longest", [1, 7, 99, 100, 1_000, 65_536, 3_000_000])
def test_bins_are_few_and_hold_every_row(longest: int):
    bins = counts([1, longest // 2 + 1, longest]).summary().bins
    assert sum(length_bin.num_rows for length_bin in bins) == 3
    assert len(bins) <= module.BINS + 1
    assert all(before.last + 1 == after.first for before, after in pairwise(bins))


def test_very_long_rows_take_no_memory_each():
    made = counts(list(range(1_000_000, 1_100_000)))
    assert len(made._counts) < 200
    assert made.num_rows == 100_000

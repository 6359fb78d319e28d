"""Packing puts every document somewhere, as TRL's `bfd_split` does."""

from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from train.data.tokens.pack import best_fit, piece_lengths

CAPACITY = 12


@given(st.lists(st.integers(min_value=1, max_value=CAPACITY), max_size=60))
def test_every_document_is_in_one_row_and_no_row_is_too_long(lengths: list[int]):
    rows = best_fit(lengths, CAPACITY)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[number] for number in row) <= CAPACITY for row in rows)


@given(st.lists(st.integers(min_value=1, max_value=CAPACITY), max_size=60))
def test_no_two_rows_would_fit_into_one(lengths: list[int]):
    filled = sorted(sum(lengths[number] for number in row) for row in best_fit(lengths, CAPACITY))
    assert all(first + second > CAPACITY for first, second in pairwise(filled))


@given(st.lists(st.integers(min_value=1, max_value=4 * CAPACITY), min_size=1, max_size=60))
def test_as_many_rows_as_trl_needs(lengths: list[int]):
    from trl.data_utils import _pack_bfd

    table = pa.table({"input_ids": [[number] * length for number, length in enumerate(lengths)]})
    theirs = _pack_bfd(table, CAPACITY, on_seq_length_overflow="split")
    pieces = [piece for length in lengths for piece in piece_lengths(length, CAPACITY)]
    ours = [[pieces[number] for number in row] for row in best_fit(pieces, CAPACITY)]
    assert ours == theirs["seq_lengths"].to_pylist()


def test_the_best_fit_is_taken_and_not_the_first():
    assert best_fit([7, 8, 4, 5], CAPACITY) == [[1, 2], [0, 3]]


def test_a_long_document_is_cut_into_full_rows_and_a_rest():
    assert list(piece_lengths(30, CAPACITY)) == [12, 12, 6]
    assert list(piece_lengths(24, CAPACITY)) == [12, 12]
    assert list(piece_lengths(1, CAPACITY)) == [1]

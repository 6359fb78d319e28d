"""Fingerprints of rows, which find repeated rows in bounded memory.

Equal texts have an equal 64-bit hash. Near ones are found by min-wise hashing: of the hashes of a text's 8-byte
passages (a quarter of them, chosen by their value) the smallest in each of 24 bins is kept (one-permutation hashing
with rotation; Li, Owen, Zhang 2012; Shrivastava and Li 2014). Two texts are compared when all 6 minima of one of 4
bands agree, and count as near when 20 of the 24 do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

WINDOW = 8
"""Length of a passage in bytes."""
BINS = 24
BANDS = 4
SAME_MINIMA = 20
"""Minimum number of equal minima, of `BINS`, for near texts: about 80 % of the passages in common."""
MIN_PASSAGES = 8
"""A text with fewer chosen passages (about 40 bytes) is too short to be compared."""
MAX_CHARS = 65_536
"""Number of characters, from the beginning of a text, that are compared for near duplicates."""
MAX_NEAR_ROWS = 1_000_000
"""Maximum number of rows compared for near duplicates, at 64 bytes each."""
MAX_EXACT_HASHES = 4_000_000
"""Maximum number of hashes kept. Beyond it, those of half of all possible texts are kept, then of a quarter, ..."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_AGAIN = np.uint64(0xC2B2AE3D27D4EB4F)
_CHOSEN = np.uint64(2**62)
"""Passages with a smaller hash are chosen: a quarter of all."""
_EMPTY = np.uint64(2**64 - 1)
_LOWER_CASE = bytes(range(256)).lower()
_WHITE_SPACE = b" \t\n\r\v\f"


@dataclass(frozen=True)
class Pairs:
    """Rows and, for each, the earlier row that it repeats; both count from 0."""

    rows: Numbers
    originals: Numbers


@dataclass(frozen=True)
class Repeats:
    """Rows that equal an earlier one, and rows that are near an earlier one and equal to none."""

    equal: Pairs
    near: Pairs


class Fingerprints:
    """The fingerprints of one dataset's rows, added in order."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._hashes: list[U64] = [np.empty(0, np.uint64)]
        self._hash_rows: list[Numbers] = [np.empty(0, np.int64)]
        self._num_hashes = 0
        self._limit: int | None = None
        self._near: list[U64] = [np.empty((0, 1 + BANDS + BINS // 8), np.uint64)]

    def add(self, texts: Sequence[str], near_texts: Sequence[str]) -> None:
        """Add rows by their texts for exact and for near comparison."""
        digests = b"".join(blake2b(text.encode(), digest_size=8).digest() for text in texts)
        hashes = np.frombuffer(digests, np.uint64)
        if missing := MAX_NEAR_ROWS - self.num_near_rows:
            self._near.append(_fingerprints(near_texts[:missing], hashes[:missing]))
        self._keep(hashes, np.arange(self.num_rows, self.num_rows + len(texts), dtype=np.int64))
        self.num_rows += len(texts)

    @property
    def num_near_rows(self) -> int:
        """Number of rows, from the first, that are compared for near duplicates."""
        return min(self.num_rows, MAX_NEAR_ROWS)

    @property
    def is_sampled(self) -> bool:
        """Whether only a sample of the hashes is kept; `scale` times the number of equal rows is then an estimate."""
        return self._limit is not None

    @property
    def scale(self) -> float:
        return 1.0 if self._limit is None else 2**64 / self._limit

    def _keep(self, hashes: U64, rows: Numbers) -> None:
        if self._limit is not None:
            is_kept = hashes < np.uint64(self._limit)
            hashes, rows = hashes[is_kept], rows[is_kept]
        self._hashes.append(hashes)
        self._hash_rows.append(rows)
        self._num_hashes += len(hashes)
        if self._num_hashes > MAX_EXACT_HASHES:
            self._limit = (self._limit or 2**64) // 2
            kept, kept_rows = np.concatenate(self._hashes), np.concatenate(self._hash_rows)
            self._hashes, self._hash_rows, self._num_hashes = [], [], 0
            self._keep(kept, kept_rows)


def find_repeats(train: Fingerprints, held_out: Fingerprints) -> tuple[Repeats, Repeats]:
    """Rows of `train` that repeat earlier ones, and rows of `held_out` that repeat rows of `train`.

    Both are found in one search, as if `held_out` came after `train`.
    """
    equal = _equal_pairs(train, held_out)
    duplicates, overlap = _split(equal, train.num_rows)
    near_duplicates, near_overlap = _split(_near_pairs(train, held_out, overlap.rows), train.num_near_rows)
    return Repeats(duplicates, near_duplicates), Repeats(overlap, near_overlap)


def _equal_pairs(train: Fingerprints, held_out: Fingerprints) -> Pairs:
    hashes = np.concatenate([*train._hashes, *held_out._hashes])
    rows = np.concatenate([*train._hash_rows, *(rows + train.num_rows for rows in held_out._hash_rows)])
    order = np.argsort(hashes, kind="stable")
    hashes, rows = hashes[order], rows[order]
    # Rows with equal hashes are in order, so this is the first of them.
    originals = rows[np.searchsorted(hashes, hashes)]
    is_repeat = (originals < rows) & (originals < train.num_rows)
    rows, originals = rows[is_repeat], originals[is_repeat]
    order = np.argsort(rows, kind="stable")
    return Pairs(rows[order], originals[order])


def _near_pairs(train: Fingerprints, held_out: Fingerprints, equal: Numbers) -> Pairs:
    """Near pairs in the table of both; `equal` are rows of `held_out` that are known to equal one of `train`."""
    table = np.concatenate([*train._near, *held_out._near])
    border = train.num_near_rows
    best = np.full(len(table), len(table), dtype=np.int64)
    for band in range(BANDS):
        keys = table[:, 1 + band]
        rows = np.flatnonzero(keys)
        rows = rows[np.argsort(keys[rows], kind="stable")]
        keys = keys[rows]
        originals = rows[np.searchsorted(keys, keys)]
        is_pair = (originals < rows) & (originals < border)
        rows, originals = rows[is_pair], originals[is_pair]
        is_near = _are_alike(table, rows, originals)
        np.minimum.at(best, rows[is_near], originals[is_near])
    best[_rows_that_equal_one_before(table, border)] = len(table)
    # The rows they equal may be beyond the table.
    best[border + equal[equal < held_out.num_near_rows]] = len(table)
    rows = np.flatnonzero(best < len(table))
    return Pairs(rows, best[rows])


def _rows_that_equal_one_before(table: U64, border: int) -> npt.NDArray[np.bool_]:
    """Which rows equal an earlier row before `border`."""
    _, first, inverse = np.unique(table[:, 0], return_index=True, return_inverse=True)
    originals = first[inverse]
    is_equal: npt.NDArray[np.bool_] = (originals < np.arange(len(table))) & (originals < border)
    return is_equal


def _split(pairs: Pairs, border: int) -> tuple[Pairs, Pairs]:
    """The pairs with rows before `border`, and the others with rows counted from there."""
    number = np.searchsorted(pairs.rows, border)
    return (
        Pairs(pairs.rows[:number], pairs.originals[:number]),
        Pairs(pairs.rows[number:] - border, pairs.originals[number:]),
    )


def _are_alike(table: U64, rows: Numbers, others: Numbers) -> npt.NDArray[np.bool_]:
    """Whether each row has enough minima in common with its counterpart in `others`."""
    words = slice(1 + BANDS, None)
    mine = np.ascontiguousarray(table[rows, words]).view(np.uint8)
    theirs = np.ascontiguousarray(table[others, words]).view(np.uint8)
    same: npt.NDArray[np.bool_] = (mine == theirs).sum(axis=1) >= SAME_MINIMA
    return same


def _fingerprints(texts: Sequence[str], hashes: U64) -> U64:
    minima, num_passages = _minima(texts)
    table = np.empty((len(texts), 1 + BANDS + BINS // 8), np.uint64)
    table[:, 0] = hashes
    bands = minima.reshape(len(texts), BANDS, BINS // BANDS)
    keys = np.zeros((len(texts), BANDS), np.uint64)
    for place in range(BINS // BANDS):
        keys = (keys ^ bands[:, :, place]) * _MIX_AGAIN
        keys ^= keys >> np.uint64(29)
    keys[num_passages < MIN_PASSAGES] = 0
    table[:, 1 : 1 + BANDS] = keys
    table[:, 1 + BANDS :] = minima.astype(np.uint8).view(np.uint64)
    return table


def _minima(texts: Sequence[str]) -> tuple[U64, Numbers]:
    """The smallest passage hash of every text in every bin, and the number of chosen passages of every text."""
    parts = [_plain(text[:MAX_CHARS]) for text in texts]
    sizes = np.array([len(part) for part in parts])
    ends = np.cumsum(sizes)
    data = b"".join(parts) + b"\0" * WINDOW
    passages = np.ndarray(shape=(len(data) - WINDOW,), dtype="<u8", buffer=data, strides=(1,))
    hashes = passages * _MIX
    places = np.flatnonzero(hashes < _CHOSEN)
    rows = np.repeat(np.arange(len(texts)), sizes)[places]
    # A passage that reaches into the next text belongs to neither.
    is_inside = places + WINDOW <= ends[rows]
    rows, chosen = rows[is_inside], hashes[places[is_inside]]
    chosen ^= chosen >> np.uint64(32)
    chosen *= _MIX_AGAIN
    # Another part of the hash decides the bin.
    bins = (chosen & np.uint64(0xFFFF)) * np.uint64(BINS) >> np.uint64(16)
    minima = np.full(len(texts) * BINS, _EMPTY, np.uint64)
    np.minimum.at(minima, rows * BINS + bins.astype(np.int64), chosen >> np.uint64(30))
    return _filled(minima.reshape(len(texts), BINS)), np.bincount(rows, minlength=len(texts))


def _plain(text: str) -> bytes:
    """The text without case and white space, in which near texts may differ."""
    return (text if text.isascii() else text.lower()).encode().translate(_LOWER_CASE, _WHITE_SPACE)


def _filled(minima: U64) -> U64:
    """Give every empty bin the minimum of the next full bin to its right, altered by the distance."""
    filled = minima.copy()
    for distance in range(1, BINS):
        is_empty = filled == _EMPTY
        if not is_empty.any():
            break
        borrowed = np.roll(minima, -distance, axis=1)
        usable = is_empty & (borrowed != _EMPTY)
        filled[usable] = (borrowed[usable] ^ np.uint64(distance)) * _MIX >> np.uint64(32)
    return filled

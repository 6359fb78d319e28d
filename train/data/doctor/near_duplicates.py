"""Fingerprints of rows, to find the ones that repeat others, in memory that does not grow with the dataset.

Equal texts have an equal 64-bit hash. Near ones are found by min-wise hashing: of the hashes of a text's 8-byte
passages (a quarter of them, chosen by their value) the smallest in each of 24 bins is kept (one-permutation hashing
with rotation; Li, Owen, Zhang 2012; Shrivastava and Li 2014). Two texts are looked at when all 6 minima of one of 4
bands agree, and count as near when 20 of the 24 do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

WINDOW = 8
"""Bytes of a passage."""
BINS = 24
BANDS = 4
SAME_MINIMA = 20
"""Of `BINS`, for two texts to be near: about 80 % of the passages in common."""
MIN_PASSAGES = 8
"""A text with fewer chosen passages (about 40 bytes) is too short to be like another one."""
MAX_CHARS = 65_536
"""Of a text, at its beginning, that are looked at for near ones."""
MAX_NEAR_ROWS = 1_000_000
"""Rows that are compared for near ones: 64 bytes each."""
MAX_EXACT_HASHES = 4_000_000
"""Hashes that are kept; when there are more, those of a half of all texts, and so on."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_AGAIN = np.uint64(0xC2B2AE3D27D4EB4F)
_CHOSEN = np.uint64(2**62)
"""Passages with a smaller hash are chosen: a quarter."""
_EMPTY = np.uint64(2**64 - 1)
_LOWER_CASE = bytes(range(256)).lower()
_WHITE_SPACE = b" \t\n\r\v\f"


@dataclass(frozen=True)
class Pairs:
    """Rows and, for each, an earlier row like it; both count from 0."""

    rows: Numbers
    originals: Numbers


class Sketch:
    """The fingerprints of one dataset's rows, added in order."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._hashes: list[U64] = []
        self._hash_rows: list[Numbers] = []
        self._num_hashes = 0
        self._limit: int | None = None
        self._near: list[U64] = []

    def add(self, texts: Sequence[str], near_texts: Sequence[str]) -> None:
        """Add rows: what makes two of them equal, and what makes two of them alike."""
        digests = b"".join(blake2b(text.encode(), digest_size=8).digest() for text in texts)
        hashes = np.frombuffer(digests, np.uint64)
        rows = np.arange(self.num_rows, self.num_rows + len(texts), dtype=np.int64)
        if self.num_rows < MAX_NEAR_ROWS:
            self._near.append(_fingerprints(near_texts, hashes))
        self.num_rows += len(texts)
        self._keep(hashes, rows)

    @property
    def is_sampled(self) -> bool:
        """Whether only a part of the hashes is kept, so that `scale` times their number is an estimate."""
        return self._limit is not None

    @property
    def scale(self) -> float:
        return 1.0 if self._limit is None else 2**64 / self._limit

    def shared_scale(self, other: "Sketch") -> float:
        """What the number of `overlap`'s equal rows is to be multiplied with: only what both have kept is found."""
        return max(self.scale, other.scale)

    @property
    def num_near_rows(self) -> int:
        return len(self._near_table)

    def duplicates(self) -> Pairs:
        """Rows whose text is that of an earlier one."""
        hashes, rows = self._exact
        first = np.searchsorted(hashes, hashes)
        return _in_order(rows, rows[first], rows != rows[first])

    def near_duplicates(self) -> Pairs:
        """Rows that are like an earlier one and equal to none."""
        table = self._near_table
        best = np.full(len(table), len(table), dtype=np.int64)
        for band in range(BANDS):
            order, keys = self._bands[band]
            rows, originals = order, order[np.searchsorted(keys, keys)]
            is_near = (originals < rows) & _alike(table, rows, table, originals)
            np.minimum.at(best, rows[is_near], originals[is_near])
        best[self._repeated_near_rows()] = len(table)
        rows = np.flatnonzero(best < len(table))
        return Pairs(rows, best[rows])

    def overlap(self, other: "Sketch") -> tuple[Pairs, Pairs]:
        """Rows of `other` that equal one of these, and rows that are only like one; `originals` are these."""
        hashes, rows = self._exact
        wanted, wanted_rows = other._exact
        at = np.minimum(np.searchsorted(hashes, wanted), max(0, len(hashes) - 1))
        equal = _in_order(wanted_rows, rows[at], hashes[at] == wanted) if len(hashes) else _none()
        return equal, self._near_overlap(other, equal)

    def _repeated_near_rows(self) -> Numbers:
        """Of the rows that are compared for near ones, those that equal an earlier one."""
        hashes = self._near_table[:, 0]
        _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        return np.flatnonzero(first[inverse] != np.arange(len(hashes)))

    def _near_overlap(self, other: "Sketch", equal: Pairs) -> Pairs:
        mine, theirs = self._near_table, other._near_table
        best = np.full(len(theirs), len(mine), dtype=np.int64)
        for band in range(BANDS):
            order, keys = self._bands[band]
            if not len(keys):
                continue
            their_order, their_keys = other._bands[band]
            at = np.minimum(np.searchsorted(keys, their_keys), len(keys) - 1)
            found = keys[at] == their_keys
            rows, originals = their_order[found], order[at[found]]
            is_near = _alike(theirs, rows, mine, originals)
            np.minimum.at(best, rows[is_near], originals[is_near])
        best[equal.rows[equal.rows < len(best)]] = len(mine)
        # Those that equal one of these and are not in the sample.
        best[np.isin(theirs[:, 0], mine[:, 0])] = len(mine)
        rows = np.flatnonzero(best < len(mine))
        return Pairs(rows, best[rows])

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

    @cached_property
    def _exact(self) -> tuple[U64, Numbers]:
        """The kept hashes in order, and their rows; the rows of equal hashes in order."""
        if not self._hashes:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        hashes, rows = np.concatenate(self._hashes), np.concatenate(self._hash_rows)
        order = np.argsort(hashes, kind="stable")
        return hashes[order], rows[order]

    @cached_property
    def _near_table(self) -> U64:
        """A line a row: the hash of its text, a key for each band, the low bytes of the minima, eight to a word."""
        table = np.concatenate(self._near) if self._near else np.empty((0, 1 + BANDS + BINS // 8), np.uint64)
        return table[:MAX_NEAR_ROWS]

    @cached_property
    def _bands(self) -> list[tuple[Numbers, U64]]:
        """For each band the rows that have a key, ordered by it, and the keys."""
        table = self._near_table
        bands = []
        for band in range(BANDS):
            keys = table[:, 1 + band]
            rows = np.flatnonzero(keys)
            order = rows[np.argsort(keys[rows], kind="stable")]
            bands.append((order, keys[order]))
        return bands


def _in_order(rows: Numbers, originals: Numbers, wanted: npt.NDArray[np.bool_]) -> Pairs:
    rows, originals = rows[wanted], originals[wanted]
    order = np.argsort(rows, kind="stable")
    return Pairs(rows[order], originals[order])


def _none() -> Pairs:
    return Pairs(np.empty(0, np.int64), np.empty(0, np.int64))


def _alike(table: U64, rows: Numbers, others: U64, originals: Numbers) -> npt.NDArray[np.bool_]:
    """Whether `rows` of one table have enough minima in common with `originals` of another."""
    words = slice(1 + BANDS, None)
    mine = np.ascontiguousarray(table[rows, words]).view(np.uint8)
    theirs = np.ascontiguousarray(others[originals, words]).view(np.uint8)
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
    """The smallest passage hash of every text in every bin, and the number of its chosen passages."""
    parts = [_plain(text[:MAX_CHARS]) for text in texts]
    sizes = np.array([len(part) for part in parts])
    ends = np.cumsum(sizes)
    data = b"".join(parts) + b"\0" * WINDOW
    passages = np.ndarray(shape=(len(data) - WINDOW,), dtype="<u8", buffer=data, strides=(1,))
    hashes = passages * _MIX
    places = np.flatnonzero(hashes < _CHOSEN)
    rows = np.repeat(np.arange(len(texts)), sizes)[places]
    # A passage that reaches into the next text is of neither.
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
    """The text without what two alike ones may well differ in: case and white space."""
    return (text if text.isascii() else text.lower()).encode().translate(_LOWER_CASE, _WHITE_SPACE)


def _filled(minima: U64) -> U64:
    """Give every empty bin the minimum of the next full one to its right, changed by how far away that is."""
    filled = minima.copy()
    for distance in range(1, BINS):
        is_empty = filled == _EMPTY
        if not is_empty.any():
            break
        borrowed = np.roll(minima, -distance, axis=1)
        usable = is_empty & (borrowed != _EMPTY)
        filled[usable] = (borrowed[usable] ^ np.uint64(distance)) * _MIX >> np.uint64(32)
    return filled

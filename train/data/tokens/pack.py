"""Packing: documents share rows so that few positions stay empty.

Best fit decreasing (Ding et al. 2024, "Fewer Truncations Improve Language Modeling"): the longest document first, each
into the row where it leaves the least room. A document longer than a row is cut into pieces; no token is dropped.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Lengths = npt.NDArray[np.int64]


def piece_lengths(length: int, capacity: int) -> Iterator[int]:
    """The lengths of the pieces of one document, in order: full rows, then the rest."""
    for start in range(0, length, capacity):
        yield min(capacity, length - start)


def best_fit(lengths: Sequence[int] | Lengths, capacity: int) -> list[list[int]]:
    """The indices of the documents in each row, so that no row is longer than `capacity` tokens.

    Every length must be from 1 to `capacity`. The same lengths give the same rows.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    rows: list[list[int]] = []
    rooms = _Rooms(capacity)
    by_room: defaultdict[int, deque[int]] = defaultdict(deque)
    for document in order.tolist():
        length = int(lengths[document])
        room = rooms.smallest_from(length)
        if room is None:
            room, row = capacity, len(rows)
            rows.append([])
        else:
            row = by_room[room].popleft()
            if not by_room[room]:
                rooms.remove(room)
        rows[row].append(document)
        if left := room - length:
            by_room[left].append(row)
            rooms.add(left)
    return rows


class _Rooms:
    """The sizes of free room in the rows, as a tree that finds the smallest sufficient one."""

    def __init__(self, capacity: int) -> None:
        self._leaves = 1 << capacity.bit_length()
        self._largest = [0] * (2 * self._leaves)

    def add(self, room: int) -> None:
        self._set(room, room)

    def remove(self, room: int) -> None:
        self._set(room, 0)

    def smallest_from(self, wanted: int) -> int | None:
        """The smallest room of at least `wanted`; `None` when there is none."""
        if self._largest[1] < wanted:
            return None
        node = 1
        while node < self._leaves:
            node *= 2
            # The left subtree holds the smaller rooms.
            node += self._largest[node] < wanted
        return self._largest[node]

    def _set(self, room: int, value: int) -> None:
        node = self._leaves + room
        self._largest[node] = value
        while node > 1:
            node //= 2
            left, right = self._largest[2 * node], self._largest[2 * node + 1]
            self._largest[node] = left if left >= right else right

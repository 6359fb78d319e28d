"""Lines drawn with braille characters: each cell of a terminal has two columns and four rows of dots."""

import itertools
import math
from collections.abc import Sequence

from ftlab.tui.spans import Span

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of the dot in each row and column of a cell (Unicode chart U+2800)."""
_BARS = "▁▂▃▄▅▆▇█"


class Canvas:
    """A field of braille cells. Each cell has the role of the newest dot that was drawn into it."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [[0] * width for _ in range(height)]
        self._roles = [[""] * width for _ in range(height)]

    @property
    def dots_wide(self) -> int:
        return 2 * self.width

    @property
    def dots_high(self) -> int:
        return 4 * self.height

    def dot(self, x: int, y: int, role: str = "") -> None:
        """A dot, counted from the left and from the bottom; one outside the field is left out."""
        if 0 <= x < self.dots_wide and 0 <= y < self.dots_high:
            row, inner = divmod(self.dots_high - 1 - y, 4)
            self._bits[row][x // 2] |= _DOTS[inner][x % 2]
            self._roles[row][x // 2] = role

    def line(self, start: tuple[int, int], end: tuple[int, int], role: str = "") -> None:
        """A straight line between two dots."""
        (x0, y0), (x1, y1) = start, end
        length = max(abs(x1 - x0), abs(y1 - y0), 1)
        for place in range(length + 1):
            share = place / length
            self.dot(round(x0 + (x1 - x0) * share), round(y0 + (y1 - y0) * share), role)

    def path(self, dots: Sequence[tuple[int, int]], role: str = "") -> None:
        """A line through all dots."""
        for x, y in dots[:1]:
            self.dot(x, y, role)
        for start, end in itertools.pairwise(dots):
            self.line(start, end, role)

    def rows(self) -> list[list[Span]]:
        """The field from top to bottom; neighbours with one role are one span."""
        return [_spans(bits, roles) for bits, roles in zip(self._bits, self._roles, strict=True)]


def _spans(bits: list[int], roles: list[str]) -> list[Span]:
    spans: list[Span] = []
    for cell, role in zip(bits, roles, strict=True):
        char = chr(0x2800 + cell) if cell else " "
        role = role if cell else ""
        if spans and spans[-1][1] == role:
            spans[-1] = (spans[-1][0] + char, role)
        else:
            spans.append((char, role))
    return spans


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as bars of eight heights, one cell each: the means of `width` parts where there are more."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    if len(finite) > width:
        edges = [place * len(finite) // width for place in range(width + 1)]
        parts = [finite[begin:end] for begin, end in itertools.pairwise(edges)]
        finite = [sum(part) / len(part) for part in parts]
    low, span = min(finite), max(finite) - min(finite)
    return "".join(_BARS[round((value - low) / span * 7) if span else 3] for value in finite)


def bar(share: float, width: int) -> tuple[str, str]:
    """The filled and the empty part of a progress bar."""
    filled = round(width * min(1.0, max(0.0, share)))
    return "━" * filled, "╌" * (width - filled)

"""Text in pieces with roles, such as `error`: what the monitor shows, before a theme gives it colours."""

from collections.abc import Sequence

from ftlab.cli.text import cell_width, clipped
from ftlab.formatting import one_line

Span = tuple[str, str]
"""Text, and its role; an empty role is normal text."""
Line = tuple[Span, ...]

_ASCII = str.maketrans(
    {
        **dict(zip("○●↻✓✗⊘‖◆▶·…━╌─│┤└┊▲", "o*~+x-=#>-~#.-|+`:^", strict=True)),
        **dict(zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True)),
        **{chr(0x2800 + bits): "*" if bits else " " for bits in range(256)},
    }
)


def line(*parts: Span | str) -> Line:
    """A line of spans; a plain string has no role. Control characters become blanks."""
    spans = ((part, "") if isinstance(part, str) else part for part in parts)
    return tuple((one_line(text), role) for text, role in spans if text)


def text_of(spans: Line) -> str:
    return "".join(text for text, _ in spans)


def width_of(spans: Line) -> int:
    """Cells that the line takes."""
    return sum(cell_width(text) for text, _ in spans)


def fitted_line(spans: Line, width: int) -> Line:
    """The line clipped to `width` cells."""
    shown: list[Span] = []
    left = width
    for text, role in spans:
        if left <= 0:
            break
        piece = clipped(text, left)
        shown.append((piece, role))
        left -= cell_width(piece)
    return tuple(shown)


def spread(left: Line, right: Line, width: int) -> Line:
    """One part on the left and one on the right of a line; the left one is clipped where both do not fit."""
    right = fitted_line(right, width)
    room = width - width_of(right)
    left = fitted_line(left, max(0, room - 1))
    return (*left, (" " * (room - width_of(left)), ""), *right)


def joined(parts: Sequence[Line], separator: str = "  ") -> Line:
    """The parts that are not empty, with a separator between them."""
    spans: list[Span] = []
    for part in parts:
        if part:
            spans += ([(separator, "")] if spans else []) + list(part)
    return tuple(spans)


def in_ascii(spans: Line) -> Line:
    """The line for a terminal that shows only ASCII: signs are replaced by similar ones, other letters by `?`."""
    return tuple((to_ascii(text), role) for text, role in spans)


def to_ascii(text: str) -> str:
    """ASCII text of the same width."""
    translated = text.translate(_ASCII)
    return "".join(char if char.isascii() else "?" * cell_width(char) for char in translated)

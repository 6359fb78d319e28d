"""From characters to tokens: which tokens of a row a span of its text covers."""

from bisect import bisect_right
from typing import TYPE_CHECKING

from train.data.tokens.chat_template import Span

if TYPE_CHECKING:
    from tokenizers import Encoding

_Offsets = list[Span]
"""First character and the one after the last, for each token."""


def _token_range(offsets: _Offsets, span: Span) -> Span:
    """The first token of a span, and the one after its last; a token that reaches over the end belongs to it."""
    start, end = span
    # Offsets may leave out spaces: a token of spaces only is empty and stands where they end.
    first = bisect_right(offsets, start, key=_end_of)
    last = bisect_right(offsets, end, key=_end_of)
    while last < len(offsets) and offsets[last][0] < end:
        last += 1
    return first, last


def token_ranges(encoding: "Encoding", spans: list[Span], num_chars: int) -> list[Span]:
    """The same for the spans of one text of so many characters; copies all offsets only where that is needed."""
    ranges: list[Span] = []
    for start, end in spans:
        first = encoding.char_to_token(start)
        last = len(encoding) if end == num_chars else _begins_at(encoding, end)
        if first is None or last is None:
            offsets = encoding.offsets
            return [_token_range(offsets, span) for span in spans]
        ranges.append((first, last))
    return ranges


def _begins_at(encoding: "Encoding", char: int) -> int | None:
    """The token that begins with a character; `None` when it only lies within one, or in none."""
    token = encoding.char_to_token(char)
    chars = None if token is None else encoding.token_to_chars(token)
    return token if chars is not None and chars[0] == char else None


def _end_of(offset: Span) -> int:
    return offset[1]

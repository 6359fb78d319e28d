"""From tokenised rows to the token ids and labels that a run trains on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from train.data.rows.canonical import Row
from train.data.tokens.chat_template import Span
from train.data.tokens.render import Renderer
from train.data.tokens.tokenise import RowObserver, num_learned, tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
"""Label that the loss leaves out."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row as tokens. `labels` is as long as `input_ids`, with `IGNORE` where nothing is learned."""

    input_ids: list[int]
    labels: list[int] | None
    """`None` when no token of the row is learned."""
    num_tokens: int
    """Number of tokens before the row was cut."""


def encode(
    lines: Iterable[tuple[int, Row]],
    tokenizer: "PreTrainedTokenizerBase",
    renderer: Renderer,
    *,
    max_length: int | None,
    observer: RowObserver | None = None,
) -> Iterator[EncodedRow]:
    """Ids and labels of rows with their lines in the source, cut after `max_length` tokens, if that is given.

    Raise `InvalidRequestError` with code `chat_template_unsupported` or `tokenizer_unsupported` when the tokenizer
    cannot do this, `DatasetInvalidError` when its template refuses a row.
    """
    for batch in tokenise(lines, tokenizer, renderer, max_length=max_length, observer=observer):
        for row in batch:
            (encoding,), (turns,) = row.encodings, row.turns
            ids: list[int] = encoding.ids
            kept = ids[:max_length]
            yield EncodedRow(kept, _labels(kept, turns), len(ids))


def _labels(ids: list[int], turns: list[Span]) -> list[int] | None:
    """Labels for `ids`, the first tokens of a row, by the token ranges of its turns; `None` if none is learned."""
    labels = [IGNORE] * len(ids)
    for first, last in turns:
        labels[first : min(last, len(ids))] = ids[first:last]
    return labels if num_learned([turns], len(ids)) else None

"""From normal rows to token ids and labels.

Each row is tokenised once, as the whole text; what is learned is known in characters and carried over to
tokens by their offsets. So the tokens are those the model meets in use, also where a turn begins or ends.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftlab.errors import InvalidRequestError
from train.data.chat_template import Span
from train.data.render import KeptChars, RenderedRow, Renderer
from train.data.shapes import Row
from train.data.token_spans import Offsets, token_range

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH_ROWS = 1000
"""Rows of one call to the tokenizer at most, which works on them in parallel threads."""
BATCH_CHARS = 1024**2
"""Characters after which a call is made with fewer rows: a token takes about 100 bytes until its labels are known."""
IGNORE = -100
"""Label that the loss leaves out."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row as tokens. `labels` is as long as `input_ids`, with `IGNORE` where nothing is learned."""

    input_ids: list[int]
    labels: list[int] | None
    """`None` when no token of the row is learned."""
    num_tokens: int
    """Before the row was cut."""


def encode(
    rows: Iterable[Row],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    max_length: int | None,
    assistant_only_loss: bool,
) -> Iterator[EncodedRow]:
    """Tokenise rows, many at a time, with the loss on the assistant's turns or on everything.

    Rows are cut after `max_length` tokens, if that is given. Messages of weight 0 are never learned. Raise
    `InvalidRequestError` with code `chat_template_unsupported` or `tokenizer_unsupported` when the tokenizer cannot do
    this, `DatasetInvalidError` when its template refuses a row.
    """
    for ids, offsets, spans in _tokenise(rows, tokenizer, max_length, assistant_only_loss):
        kept = ids[:max_length]
        yield EncodedRow(kept, _labels(kept, offsets, spans), len(ids))


def _tokenise(
    rows: Iterable[Row], tokenizer: "PreTrainedTokenizerBase", max_length: int | None, assistant_only_loss: bool
) -> Iterator[tuple[list[int], Offsets, list[Span]]]:
    if not tokenizer.is_fast:
        raise InvalidRequestError(
            "The model has no fast tokenizer, which is needed to find the assistant's tokens.",
            "tokenizer_unsupported",
            "model",
        )
    renderer = Renderer(tokenizer, assistant_only_loss=assistant_only_loss)
    kept_chars = None if max_length is None else _kept_chars(tokenizer, max_length)
    rendered = (renderer.render(number, row, kept_chars) for number, row in enumerate(rows, 1))
    for batch in _batches(rendered):
        encoded = _tokens_of(tokenizer, [row.text for row in batch])
        for row, ids, offsets in zip(batch, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            yield ids, offsets, row.spans


def _kept_chars(tokenizer: "PreTrainedTokenizerBase", max_length: int) -> KeptChars:
    def kept_chars(text: str) -> int | None:
        (offsets,) = _tokens_of(tokenizer, [text])["offset_mapping"]
        return max(end for _, end in offsets[:max_length]) if len(offsets) > max_length else None

    return kept_chars


def _tokens_of(tokenizer: "PreTrainedTokenizerBase", texts: list[str]) -> Any:
    return tokenizer(
        texts,
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=True,
        verbose=False,
    )


def _batches(rows: Iterable[RenderedRow]) -> Iterator[list[RenderedRow]]:
    batch: list[RenderedRow] = []
    num_chars = 0
    for row in rows:
        batch.append(row)
        num_chars += len(row.text)
        if len(batch) >= BATCH_ROWS or num_chars >= BATCH_CHARS:
            yield batch
            batch, num_chars = [], 0
    if batch:
        yield batch


def _labels(ids: list[int], offsets: Offsets, spans: list[Span]) -> list[int] | None:
    """The labels of `ids`, the first tokens of a row; `None` when nothing of it is learned."""
    labels = [IGNORE] * len(ids)
    learns = False
    for span in spans:
        first, last = token_range(offsets, span)
        last = min(last, len(ids))
        labels[first:last] = ids[first:last]
        # The model predicts the next token, so the first one of a row is never a target.
        learns = learns or last > max(first, 1)
    return labels if learns else None

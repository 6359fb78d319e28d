"""From normal rows to token ids and labels.

Each row is tokenised once, as the whole text; what is learned is known in characters and carried over to
tokens by their offsets. So the tokens are those the model meets in use, also where a turn begins or ends.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ftlab.errors import InvalidRequestError
from train.data.errors import DatasetInvalidError
from train.data.render import Renderer, Span
from train.data.shapes import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH_ROWS = 1000
"""Rows of one call to the tokenizer, which works on them in parallel threads."""
IGNORE = -100
"""Label that the loss leaves out."""


@dataclass(frozen=True)
class EncodedRows:
    """Rows ready for the trainer. `labels` is as long as `input_ids`, with `IGNORE` where nothing is learned.

    `num_truncated` rows were cut at `max_length` and lost `num_dropped_tokens` together. `num_untrained_rows`
    had no token left to learn and are not in the lists.
    """

    input_ids: list[list[int]]
    labels: list[list[int]]
    num_truncated: int
    num_dropped_tokens: int
    num_untrained_rows: int


def encode_rows(
    rows: Iterable[Row],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    max_length: int,
    assistant_only_loss: bool,
) -> EncodedRows:
    """Tokenise rows to at most `max_length` tokens, with the loss on the assistant's turns or on everything.

    Messages of weight 0 are never learned. Raise `InvalidRequestError` with code `chat_template_unsupported`
    or `tokenizer_unsupported` when the tokenizer cannot do this, `DatasetInvalidError` when its template
    refuses a row or no token is left to learn.
    """
    input_ids: list[list[int]] = []
    all_labels: list[list[int]] = []
    num_truncated = num_dropped_tokens = num_untrained_rows = 0
    for ids, offsets, spans in _tokenise(rows, tokenizer, assistant_only_loss):
        if len(ids) > max_length:
            num_truncated += 1
            num_dropped_tokens += len(ids) - max_length
        kept = ids[:max_length]
        labels = _labels(kept, offsets, spans)
        if labels is None:
            num_untrained_rows += 1
            continue
        input_ids.append(kept)
        all_labels.append(labels)
    if not input_ids:
        raise DatasetInvalidError(
            f"None of the {num_untrained_rows} rows has a token to learn; {num_truncated} of them are longer "
            f"than method.max_length ({max_length}). Raise it, or check which messages are the assistant's."
        )
    return EncodedRows(input_ids, all_labels, num_truncated, num_dropped_tokens, num_untrained_rows)


Offsets = list[tuple[int, int]]


def _tokenise(
    rows: Iterable[Row], tokenizer: "PreTrainedTokenizerBase", assistant_only_loss: bool
) -> Iterator[tuple[list[int], Offsets, list[Span]]]:
    if not tokenizer.is_fast:
        raise InvalidRequestError(
            "The model has no fast tokenizer, which is needed to find the assistant's tokens.",
            "tokenizer_unsupported",
            "model",
        )
    renderer = Renderer(tokenizer, assistant_only_loss=assistant_only_loss)
    rendered = (renderer.render(number, row) for number, row in enumerate(rows, 1))
    while batch := list(islice(rendered, BATCH_ROWS)):
        encoded = tokenizer(
            [row.text for row in batch],
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        for row, ids, offsets in zip(batch, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            yield ids, offsets, row.spans


def _labels(ids: list[int], offsets: Offsets, spans: list[Span]) -> list[int] | None:
    """The labels of `ids`, the first tokens of a row; `None` when nothing of it is learned."""
    labels = [IGNORE] * len(ids)
    learns = False
    for start, end in spans:
        # Offsets may leave out spaces: a token of spaces only is empty and stands where they end.
        first = bisect_right(offsets, start, key=_end_of)
        last = bisect_right(offsets, end, key=_end_of)
        while last < len(offsets) and offsets[last][0] < end:
            last += 1
        last = min(last, len(ids))
        labels[first:last] = ids[first:last]
        # The model predicts the next token, so the first one of a row is never a target.
        learns = learns or last > max(first, 1)
    return labels if learns else None


def _end_of(offset: tuple[int, int]) -> int:
    return offset[1]

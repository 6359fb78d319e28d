"""From normal rows to token ids and labels.

Each row is tokenised once, as the whole text; what is learned is known in characters and carried over to
tokens by their offsets. So the tokens are those the model meets in use, also where a turn begins or ends.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ftlab.errors import InvalidRequestError
from train.data.rows.canonical import Row
from train.data.tokens.chat_template import Span
from train.data.tokens.render import KeptChars, Renderer
from train.data.tokens.token_spans import token_ranges

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

BATCH_ROWS = 1000
"""Rows of one call to the tokenizer at most, which works on them in parallel threads."""
BATCH_CHARS = 1024**2
"""Characters after which a call is made with fewer rows: a token takes about 100 bytes until its labels are known."""
IGNORE = -100
"""Label that the loss leaves out."""

Item = TypeVar("Item")


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
    for ids, turns in _tokenise(rows, tokenizer, max_length, assistant_only_loss):
        kept = ids[:max_length]
        yield EncodedRow(kept, _labels(kept, turns), len(ids))


def _tokenise(
    rows: Iterable[Row], tokenizer: "PreTrainedTokenizerBase", max_length: int | None, assistant_only_loss: bool
) -> Iterator[tuple[list[int], list[Span]]]:
    """The tokens of each row, and which of them are learned."""
    backend = backend_of(tokenizer)
    renderer = Renderer(tokenizer, assistant_only_loss=assistant_only_loss)
    kept_chars = None if max_length is None else _kept_chars(backend, max_length)
    rendered = (renderer.render(number, row, kept_chars) for number, row in enumerate(rows, 1))
    batches = in_batches(rendered, lambda row: len(row.text), BATCH_ROWS, BATCH_CHARS)
    for batch, encodings in encode_batches(backend, batches, lambda batch: [row.text for row in batch]):
        for row, encoding in zip(batch, encodings, strict=True):
            yield encoding.ids, token_ranges(encoding, row.spans, len(row.text))


def backend_of(tokenizer: "PreTrainedTokenizerBase") -> "Tokenizer":
    """What tokenises whole texts, and knows which characters each token stands for.

    Raise `InvalidRequestError` with code `tokenizer_unsupported` for a tokenizer that does not know it.
    """
    if not tokenizer.is_fast:
        raise InvalidRequestError(
            "The model has no fast tokenizer, which is needed to find the assistant's tokens.",
            "tokenizer_unsupported",
            "model",
        )
    backend: Tokenizer = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend


def encode_batches(
    backend: "Tokenizer",
    batches: Iterable[list[Item]],
    texts_of: Callable[[list[Item]], list[str]],
    meanwhile: Callable[[list[Item]], None] = lambda batch: None,
) -> Iterator[tuple[list[Item], list["Encoding"]]]:
    """Each batch with its texts as tokens. While the tokenizer's threads work, the next batch is made.

    `meanwhile` gets each batch while it is being tokenised.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ftlab-tokenize") as pool:
        before: tuple[list[Item], Future[list[Encoding]]] | None = None
        for batch in _old_objects_left_alone(batches):
            # In line behind the batch before, so that the tokenizer never waits.
            encodings = pool.submit(backend.encode_batch, texts_of(batch), add_special_tokens=False)
            meanwhile(batch)
            if before is not None:
                yield before[0], before[1].result()
            before = batch, encodings
        if before is not None:
            yield before[0], before[1].result()


def _old_objects_left_alone(batches: Iterable[list[Item]]) -> Iterator[list[Item]]:
    """The batches; from the second on, the garbage collector passes over all objects that existed then.

    A pass over many rows would have it look again and again at the half a million that libraries have made, for a fifth
    of the time. Of two passes at the same time, the first to end ends both.
    """
    number = 0
    try:
        for number, batch in enumerate(batches, 1):
            if number == 2:
                gc.freeze()
            yield batch
    finally:
        if number >= 2:
            gc.unfreeze()


def _kept_chars(backend: "Tokenizer", max_length: int) -> KeptChars:
    def kept_chars(text: str) -> int | None:
        encoding = backend.encode(text, add_special_tokens=False)
        return max(end for _, end in encoding.offsets[:max_length]) if len(encoding) > max_length else None

    return kept_chars


def in_batches(
    items: Iterable[Item], num_chars_of: Callable[[Item], int], max_items: int, max_chars: int
) -> Iterator[list[Item]]:
    """The items in order; a batch ends with the item that brings it to `max_items` or `max_chars`."""
    batch: list[Item] = []
    num_chars = 0
    for item in items:
        batch.append(item)
        num_chars += num_chars_of(item)
        if len(batch) >= max_items or num_chars >= max_chars:
            yield batch
            batch, num_chars = [], 0
    if batch:
        yield batch


def _labels(ids: list[int], turns: list[Span]) -> list[int] | None:
    """The labels of `ids`, the first tokens of a row, by the tokens of its turns; `None` when none of it is learned."""
    labels = [IGNORE] * len(ids)
    learns = False
    for first, last in turns:
        last = min(last, len(ids))
        labels[first:last] = ids[first:last]
        # The model predicts the next token, so the first one of a row is never a target.
        learns = learns or last > max(first, 1)
    return labels if learns else None

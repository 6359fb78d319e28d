"""Conversion of normal rows to tokens and labels: rendered and tokenised batch by batch, in bounded memory.

Each row is tokenised once, as the whole text; trained spans are known in characters and mapped to tokens by their
offsets. So the tokens are those of inference, also where a turn begins or ends.
"""

import gc
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ftlab.errors import InvalidRequestError
from train.data.rows.canonical import Message, Row
from train.data.tokens.chat_template import Span
from train.data.tokens.render import KeptChars, RenderedRow, Renderer

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

BATCH_ROWS = 1000
"""Maximum number of rows in one call to the tokenizer, which processes them in parallel threads."""
BATCH_CHARS = 1024**2
"""Characters after which a batch ends early: a token takes about 100 bytes until its labels are known."""
Tokens = npt.NDArray[np.int32]
IGNORE = -100
"""Label that the loss ignores."""


@dataclass(slots=True)
class TokenisedRow:
    """A row, its rendered texts, and their tokens. A pair has two texts, every other row has one."""

    number: int
    """Row number, starting at 1."""
    line: int
    """Number of the line in the uploaded file."""
    row: Row
    texts: list[RenderedRow] = field(default_factory=list)
    """Empty when the row was refused."""
    encodings: "list[Encoding]" = field(default_factory=list)
    turns: list[list[Span]] = field(default_factory=list)
    """The token ranges of each text that are trained."""

    @property
    def num_tokens(self) -> int:
        """Number of tokens of the longest text."""
        return max(map(len, self.encodings), default=0)

    @property
    def num_chars(self) -> int:
        # A refused row has no text but takes memory as well.
        return sum(len(text.text) for text in self.texts) if self.texts else len(str(self.row))


OnRefusal = Callable[[int, int, InvalidRequestError], None]
"""Called with the number and line of a row that cannot be rendered, and the error."""


def num_learned(turns: Iterable[list[Span]], max_length: int | None = None, *, piece_length: int | None = None) -> int:
    """Number of tokens that the loss counts, among the first `max_length` of each text of a row.

    `piece_length` is the length of the pieces into which packing splits long texts.
    """
    total = 0
    for spans in turns:
        for first, last in spans:
            last = last if max_length is None else min(last, max_length)
            # The model predicts the next token, so the first one of a row, or of a piece of it, is never a target.
            first = max(first, 1)
            total += max(0, last - first)
            if piece_length and last > first:
                total -= (last - 1) // piece_length - (first - 1) // piece_length
    return total


def tokenise(
    lines: Iterable[tuple[int, Row]],
    renderer: Renderer,
    *,
    max_length: int | None,
    numbers: Iterable[int] | None = None,
    on_rendered: Callable[[list[TokenisedRow]], None] = lambda rows: None,
    on_refusal: OnRefusal | None = None,
) -> Iterator[list[TokenisedRow]]:
    """The rows in order, in batches, with their tokens. While the tokenizer's threads work, the next batch is rendered.

    `lines` are rows with their lines in the source, and `numbers` are their numbers, by default 1, 2, 3 and so on. With
    `max_length`, turns beyond that many tokens may be missing in long rows. `on_rendered` is called with each batch
    while it is being tokenised, `on_refusal` for each refused row; without it, raise what `Renderer.render` raises for
    the first one. Raise `InvalidRequestError` with code `tokenizer_unsupported` for a tokenizer without offsets.
    """
    backend = backend_of(renderer.tokenizer)
    kept_chars = None if max_length is None else _kept_chars(backend, max_length)

    def rendered() -> Iterator[TokenisedRow]:
        for number, (line, row) in zip(count(1) if numbers is None else numbers, lines, strict=False):
            read = TokenisedRow(number, line, row)
            try:
                read.texts = [renderer.render(number, part, kept_chars) for _, part in conversations(row, renderer)]
            except InvalidRequestError as error:
                if on_refusal is None:
                    raise
                on_refusal(number, line, error)
            yield read

    with ThreadPoolExecutor(1, thread_name_prefix="ftlab-tokenize") as pool:
        before: tuple[list[TokenisedRow], Future[list[Encoding]]] | None = None
        for batch in _with_frozen_gc(_in_batches(rendered())):
            texts = [text.text[text.bos :] for row in batch for text in row.texts]
            # Queued behind the previous batch, so that the tokenizer is never idle.
            encodings = pool.submit(backend.encode_batch, texts, add_special_tokens=False)
            on_rendered(batch)
            if before is not None:
                yield _tokenised(*before, backend)
            before = batch, encodings
        if before is not None:
            yield _tokenised(*before, backend)


def labelled(row: TokenisedRow, max_length: int | None) -> list[tuple[Tokens, Tokens]]:
    """Ids and labels of each text of a row, cut after `max_length` tokens, if that is given."""
    texts = []
    for encoding, turns in zip(row.encodings, row.turns, strict=True):
        ids = np.asarray(encoding.ids[:max_length], dtype=np.int32)
        labels = np.full(len(ids), IGNORE, dtype=np.int32)
        for first, last in turns:
            labels[first:last] = ids[first:last]
        texts.append((ids, labels))
    return texts


def num_starting_pieces(labels: Tokens, capacity: int) -> int:
    """How many tokens are not trained on because a piece begins with them.

    They would be predicted from the document that is packed before the piece.
    """
    return int((labels[capacity::capacity] != IGNORE).sum())


def num_taught(texts: Sequence[tuple[Tokens, Tokens]]) -> int:
    """Number of tokens that the loss counts in the labelled texts of a row; 0 for a row that training skips.

    That is a row with a text without such a token, and a pair of two equal answers.
    """
    # The model predicts the next token, so the first one of a row is never a target.
    trained = [int((labels[1:] != IGNORE).sum()) for _, labels in texts]
    return sum(trained) if all(trained) and not is_equal_pair([ids for ids, _ in texts]) else 0


def is_equal_pair(ids: Sequence[Tokens | list[int]]) -> bool:
    """Whether these are the two answers of a pair that are equal as far as they are kept: they teach nothing."""
    return len(ids) == 2 and np.array_equal(ids[0], ids[1])


def backend_of(tokenizer: "PreTrainedTokenizerBase") -> "Tokenizer":
    """The fast tokenizer inside `tokenizer`, which knows the offsets of its tokens.

    Raise `InvalidRequestError` with code `tokenizer_unsupported` for a slow tokenizer.
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


def encode_text(text: RenderedRow, backend: "Tokenizer") -> "Encoding":
    """The tokens of a text as training and inference read them."""
    return _as_at_inference(backend.encode(text.text[text.bos :], add_special_tokens=False), text, backend)


def conversations(row: Row, renderer: Renderer) -> list[tuple[str, Row]]:
    """The conversations of a row, or its plain text: two named ones for a pair, else a single one without a name."""
    only_answer = renderer.assistant_only_loss
    if "chosen" in row:
        return [(part, _answered(row, row[part], only_answer=only_answer)) for part in ("chosen", "rejected")]
    if "completion" in row:
        return [("", _answered(row, row["completion"], only_answer=only_answer))]
    if "prompt" in row:
        return [("", _answered(row, [], only_answer=True))]
    return [("", row)]


def turns_of(encodings: "list[Encoding]", texts: list[RenderedRow]) -> list[list[Span]]:
    """The token ranges of each text that are trained."""
    pairs = zip(encodings, texts, strict=True)
    return [token_ranges(encoding, text.spans, len(text.text)) for encoding, text in pairs]


def token_ranges(encoding: "Encoding", spans: list[Span], num_chars: int) -> list[Span]:
    """The token range of each span in a text of `num_chars` characters: the first token, and the one after the last.

    A token that crosses the end of a span belongs to it.
    """
    ranges: list[Span] = []
    for start, end in spans:
        first = encoding.char_to_token(start)
        last = len(encoding) if end == num_chars else _token_that_begins_at(encoding, end)
        if first is None or last is None:
            # This copies all offsets, so it is the fallback.
            offsets = encoding.offsets
            return [_search_range(offsets, span) for span in spans]
        ranges.append((first, last))
    return ranges


def _answered(row: Row, answer: list[Message], *, only_answer: bool) -> Row:
    """Prompt and answer as one conversation. With `only_answer`, the answers in the prompt are not trained."""
    prompt = [
        message | {"weight": 0} if only_answer and message["role"] == "assistant" else message
        for message in row["prompt"]
    ]
    shared: Row = {name: row[name] for name in ("tools", "is_joined") if name in row}
    return {"messages": prompt + answer} | shared


def _kept_chars(backend: "Tokenizer", max_length: int) -> KeptChars:
    def kept_chars(text: str) -> int | None:
        encoding = backend.encode(text, add_special_tokens=False)
        return max(end for _, end in encoding.offsets[:max_length]) if len(encoding) > max_length else None

    return kept_chars


def _in_batches(rows: Iterable[TokenisedRow]) -> Iterator[list[TokenisedRow]]:
    """The rows in order; a batch ends with the row that brings it to `BATCH_ROWS` or `BATCH_CHARS`."""
    batch: list[TokenisedRow] = []
    num_chars = 0
    for row in rows:
        batch.append(row)
        num_chars += row.num_chars
        if len(batch) >= BATCH_ROWS or num_chars >= BATCH_CHARS:
            yield batch
            batch, num_chars = [], 0
    if batch:
        yield batch


def _with_frozen_gc(batches: Iterable[list[TokenisedRow]]) -> Iterator[list[TokenisedRow]]:
    """The batches; from the second one on, the garbage collector ignores all objects that existed before.

    Otherwise it scans the half a million objects of libraries again and again, which takes a fifth of the time. If two
    passes run at the same time, the first to end unfreezes for both.
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


def _tokenised(
    rows: list[TokenisedRow], encodings: "Future[list[Encoding]]", backend: "Tokenizer"
) -> list[TokenisedRow]:
    """The rows with their tokens."""
    found = iter(encodings.result())
    for row in rows:
        row.encodings = [_as_at_inference(next(found), text, backend) for text in row.texts]
        row.turns = turns_of(row.encodings, row.texts)
    return rows


def _as_at_inference(encoding: "Encoding", text: RenderedRow, backend: "Tokenizer") -> "Encoding":
    """The tokens of a text as they are at inference, where the bos and the prompt are not tokenised with what follows.

    `encoding` is that of the text behind `text.bos`. A token across the boundary of prompt and completion would be
    trained with characters of the prompt in it, or leave out the first ones of the completion.
    """
    from tokenizers import Encoding

    bos = [backend.encode(text.text[: text.bos], add_special_tokens=False)] if text.bos else []
    whole = Encoding.merge([*bos, encoding], growing_offsets=True) if bos else encoding
    boundary = text.boundary or 0
    if boundary <= text.bos or _token_that_begins_at(whole, boundary) is not None:
        return whole
    parts = (text.text[text.bos : boundary], text.text[boundary:])
    split = Encoding.merge([*bos, *backend.encode_batch(parts, add_special_tokens=False)], growing_offsets=True)
    # Some tokenizers begin every text with a space (Llama 2), which here would come between the two.
    read, joined = (backend.decode(each.ids, skip_special_tokens=False) for each in (whole, split))
    return split if read == joined else whole


def _search_range(offsets: list[Span], span: Span) -> Span:
    start, end = span
    # Offsets may omit spaces: a token of spaces only is empty and lies where they end.
    first = bisect_right(offsets, start, key=_end_of)
    last = bisect_right(offsets, end, key=_end_of)
    while last < len(offsets) and offsets[last][0] < end:
        last += 1
    return first, last


def _token_that_begins_at(encoding: "Encoding", char: int) -> int | None:
    """The token that begins with a character; `None` if the character is inside a token, or in none."""
    token = encoding.char_to_token(char)
    chars = None if token is None else encoding.token_to_chars(token)
    return token if chars is not None and chars[0] == char else None


def _end_of(offset: Span) -> int:
    return offset[1]

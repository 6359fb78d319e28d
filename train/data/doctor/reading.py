"""The rows of a file as the model reads them: rendered and tokenised batch by batch, in bounded memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftlab.errors import InvalidRequestError
from ftlab.schemas.check_rules import CheckRule
from train.data.rows.canonical import CanonicalFile, Kind, Row
from train.data.rows.errors import DatasetInvalidError
from train.data.tokens.conversations import conversations
from train.data.tokens.encode import backend_of, encode_batches, in_batches
from train.data.tokens.render import RenderedRow, Renderer
from train.data.tokens.token_spans import token_ranges

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

BATCH_ROWS = 1000
BATCH_CHARS = 1_000_000
"""Characters after which a batch ends early: its tokens take a hundred times as much memory."""


@dataclass(slots=True)
class ReadRow:
    """A row and what became of it. A pair is two texts, all others are one."""

    number: int
    """Counted from 1."""
    line: int
    row: Row
    rendered: list[RenderedRow] = field(default_factory=list)
    """Empty when the template refused the row."""
    refusal: tuple[CheckRule, str] | None = None
    num_tokens: int = 0
    """Of the longer text."""
    num_learned: int = 0
    """Of them those that the loss counts, wherever they stand."""
    num_trained: int = 0
    """Of them those that are left after the row was cut."""


OnRendered = Callable[[list[ReadRow]], None]


def read_tokens(
    file: CanonicalFile,
    tokenizer: "PreTrainedTokenizerBase",
    renderer: Renderer,
    *,
    max_length: int | None,
    on_rendered: OnRendered = lambda rows: None,
) -> Iterator[list[ReadRow]]:
    """All rows with their numbers of tokens, in order; `on_rendered` gets each batch while it is being tokenised.

    `max_length` is where rows are cut, if they are. Raise `InvalidRequestError` with code `tokenizer_unsupported` for a
    tokenizer that does not know where its tokens come from.
    """
    batches = in_batches(_rows(file, renderer), _num_chars, BATCH_ROWS, BATCH_CHARS)
    for rows, encodings in encode_batches(backend_of(tokenizer), batches, _texts, on_rendered):
        yield _measured(rows, encodings, max_length)


def _texts(rows: list[ReadRow]) -> list[str]:
    return [rendered.text for row in rows for rendered in row.rendered]


def _rows(file: CanonicalFile, renderer: Renderer) -> Iterator[ReadRow]:
    """Rendered, as a batch ends by its rendered text, of which tools and calls may be the greater part."""
    numbered = enumerate((row for rows in file.batches(BATCH_ROWS) for row in rows), 1)
    for number, (line, row) in numbered:
        read = ReadRow(number, line, row)
        _render(read, renderer, file.kind)
        yield read


def _num_chars(row: ReadRow) -> int:
    if row.refusal is not None:
        return len(str(row.row))  # it has no text, and takes memory all the same
    return sum(len(rendered.text) for rendered in row.rendered)


def _render(row: ReadRow, renderer: Renderer, kind: Kind) -> None:
    try:
        row.rendered = [renderer.render(row.number, conversation) for _, conversation in conversations(row.row, kind)]
    except DatasetInvalidError as error:
        row.refusal = CheckRule.TEMPLATE_FAILED, error.message
    except InvalidRequestError as error:
        row.refusal = CheckRule.TURNS_NOT_FOUND, error.message


def _measured(rows: list[ReadRow], encodings: "list[Encoding]", max_length: int | None) -> list[ReadRow]:
    encoded = iter(encodings)
    for row in rows:
        for rendered in row.rendered:
            encoding = next(encoded)
            num_tokens = len(encoding)
            row.num_tokens = max(row.num_tokens, num_tokens)
            kept = num_tokens if max_length is None else min(num_tokens, max_length)
            for first, last in token_ranges(encoding, rendered.spans, len(rendered.text)):
                # The model predicts the next token, so the first one of a row is never a target.
                first = max(first, 1)
                row.num_learned += max(0, last - first)
                row.num_trained += max(0, min(last, kept) - first)
    return rows

"""Normal rows, read from a canonical file or as ids and labels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from train.data.rows.canonical import CanonicalFile, Row
from train.data.tokens.encode import IGNORE, labelled, tokenise
from train.data.tokens.render import Renderer


@dataclass(frozen=True)
class EncodedRow:
    input_ids: list[int]
    labels: list[int] | None
    """`None` when no token of the row is learned."""
    num_tokens: int
    """Number of tokens before the row was cut."""


def read_rows(path: Path) -> Iterator[Row]:
    """All rows of a canonical file, in order."""
    with CanonicalFile.open(path) as file:
        for _, row in file.rows():
            yield row


def encode(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, *, max_length: int | None, assistant_only_loss: bool
) -> Iterator[EncodedRow]:
    """The tokens of rows, as preparing them makes them."""
    renderer = Renderer(tokenizer, assistant_only_loss=assistant_only_loss)
    for batch in tokenise(enumerate(rows, 1), renderer, max_length=max_length):
        for row in batch:
            [(ids, labels)] = labelled(row, max_length)
            is_learned = (labels[1:] != IGNORE).any()
            yield EncodedRow(ids.tolist(), labels.tolist() if is_learned else None, row.num_tokens)

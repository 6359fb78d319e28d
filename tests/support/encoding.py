"""Rows as ids and labels, as a run trains on them."""

from collections.abc import Iterable, Iterator

from transformers import PreTrainedTokenizerBase

from train.data.rows.canonical import Row
from train.data.tokens import encode as module
from train.data.tokens.encode import EncodedRow
from train.data.tokens.render import Renderer


def encode(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, *, max_length: int | None, assistant_only_loss: bool
) -> Iterator[EncodedRow]:
    renderer = Renderer(tokenizer, assistant_only_loss=assistant_only_loss)
    return module.encode(enumerate(rows, 1), tokenizer, renderer, max_length=max_length)

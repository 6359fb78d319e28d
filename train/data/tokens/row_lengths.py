"""The lengths in tokens of a dataset's rows as the trainer reads them: of all prepared rows, else of a sample."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.data.rows.canonical import CanonicalFile
from train.data.tokens.encode import labelled, num_starting_pieces, num_taught, tokenise
from train.data.tokens.prepare import Prepared, PrepareSpec, prepared_cache
from train.data.tokens.prompts import prompts
from train.data.tokens.render import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE_ROWS = 512
"""Most rows of a file that are tokenised for a sample."""


@dataclass(frozen=True)
class RowLengths:
    """How long the rows of one file are."""

    num_rows: int
    """Rows of the dataset, or those that were selected."""
    num_sequences: int
    """Rows that the trainer reads, without untrained ones."""
    num_tokens: int
    """Tokens of these."""
    num_trained_tokens: int
    counts: dict[int, int]
    """Rows that were counted, by their number of tokens after truncation; packed ones by that of their places, pairs by
    that of their longer answer with its prompt."""
    is_exact: bool
    """Whether all rows were counted; otherwise the numbers are scaled up from a sample."""
    num_eval_rows: int = 0
    """Rows of the dataset that a split sets aside for evaluation."""

    @property
    def longest(self) -> int:
        return max(self.counts, default=0)


def row_lengths(
    spec: PrepareSpec, cache_folder: Path, tokenizer: Callable[[], "PreTrainedTokenizerBase"]
) -> RowLengths:
    """The lengths of a file's rows. `tokenizer` is called only where the rows are not prepared.

    Raise what `train.data.tokens.encode.tokenise` raises, and `DatasetInvalidError` for rows that are missing.
    """
    entry = prepared_cache(cache_folder).find(spec.key())
    if entry is None:
        return _sampled(spec, tokenizer())
    prepared = Prepared(entry)
    try:
        return _counted(prepared)
    finally:
        prepared.close()


def sampled_places(num_rows: int) -> list[int]:
    """Indices of the rows of a sample, spread evenly over the file."""
    size = min(num_rows, SAMPLE_ROWS)
    return [number * num_rows // size for number in range(size)]


def _counted(prepared: Prepared) -> RowLengths:
    counts = prepared.counts
    found = lengths_of(prepared.dataset().data)
    return RowLengths(
        counts.num_rows, counts.num_sequences, counts.num_tokens, counts.num_trained_tokens, found, is_exact=True
    )


def lengths_of(table: Any) -> dict[int, int]:
    """Prepared rows of an Arrow table by their number of tokens; empty where they have no tokens before training."""
    from pyarrow import compute

    columns = [table.column(name) for name in table.column_names if name.endswith("_ids")]
    if not columns:
        return {}
    # Both answers of a pair are padded to the longer one.
    longest = compute.max_element_wise(*map(compute.list_value_length, columns))
    return {pair["values"]: pair["counts"] for pair in compute.value_counts(longest).to_pylist()}


def _sampled(spec: PrepareSpec, tokenizer: "PreTrainedTokenizerBase") -> RowLengths:
    max_length = None if spec.packing else spec.max_length
    renderer = Renderer(tokenizer, assistant_only_loss=spec.assistant_only_loss)
    if spec.max_prompt_length is not None:
        return _sampled_prompts(spec, renderer, spec.max_prompt_length)
    lengths: list[int] = []
    num_tokens = num_trained = 0
    with CanonicalFile.open(spec.rows) as file:
        num_rows, places = _places(spec, file)
        for rows in tokenise(map(file.row, places), renderer, max_length=max_length):
            for row in rows:
                texts = labelled(row, max_length)
                if trained := num_taught(texts):
                    lengths.append(max(len(ids) for ids, _ in texts))
                    num_tokens += sum(len(ids) for ids, _ in texts)
                    num_trained += trained
                    if spec.packing:
                        num_trained -= sum(num_starting_pieces(labels, spec.max_length) for _, labels in texts)
    is_whole = len(places) == num_rows
    scale = num_rows / max(1, len(places))
    if spec.packing:
        return _packed(lengths, num_rows, scale, num_trained, spec.max_length)
    return RowLengths(
        num_rows,
        round(len(lengths) * scale),
        round(num_tokens * scale),
        round(num_trained * scale),
        dict(Counter(lengths)),
        is_exact=is_whole,
    )


def _sampled_prompts(spec: PrepareSpec, renderer: Renderer, max_prompt_length: int) -> RowLengths:
    with CanonicalFile.open(spec.rows) as file:
        num_rows, places = _places(spec, file)
        found = [len(prompt.ids) for prompt in prompts(map(file.row, places), renderer) if prompt is not None]
    lengths = [length for length in found if 0 < length <= max_prompt_length]
    scale = num_rows / max(1, len(places))
    return RowLengths(
        num_rows,
        round(len(lengths) * scale),
        round(sum(lengths) * scale),
        0,
        dict(Counter(lengths)),
        is_exact=len(places) == num_rows,
    )


def _places(spec: PrepareSpec, file: CanonicalFile) -> tuple[int, list[int]]:
    """The number of rows that are selected, and the indices of a sample of these."""
    selected: Sequence[int] = range(file.num_rows)
    if spec.selection is not None:
        selected = [number - 1 for number in spec.selection.numbers()]
    return len(selected), [selected[place] for place in sampled_places(len(selected))]


def _packed(lengths: Sequence[int], num_rows: int, scale: float, num_trained: int, capacity: int) -> RowLengths:
    """Full rows of `capacity` tokens; how densely the rows can be packed is not computed."""
    num_tokens = round(sum(lengths) * scale)
    num_sequences = -(-num_tokens // capacity)
    counts = {min(capacity, num_tokens): num_sequences} if num_tokens else {}
    return RowLengths(num_rows, num_sequences, num_tokens, round(num_trained * scale), counts, is_exact=False)

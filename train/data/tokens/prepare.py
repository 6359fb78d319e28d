"""From a dataset's rows to what the trainer reads: tokenised, masked and packed once, then opened from a cache.

Two jobs that would get the same tokens share them, and so do all attempts of a job.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlab.schemas.methods import Method
from train.data.convert import read_rows
from train.data.rows.errors import DatasetInvalidError
from train.data.tokens.arrow_rows import ArrowRowWriter, Tokens
from train.data.tokens.encode import IGNORE, EncodedRow, encode
from train.data.tokens.pack import Lengths, best_fit, piece_lengths
from train.data.tokens.prepared_cache import Entry, PreparedCache
from train.model.tokenizer import TOKENIZER_FILES

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

VERSION = 2
"""Of the rows that this module makes; another number, another cache entry."""
DATA_FILE = "data.arrow"
PROGRESS_ROWS = 1000
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
"""Rows of a batch for which the useful fraction is told."""

_NAMED_BY_CONTENT = re.compile(r"[0-9a-f]{64}-[0-9a-f]{12}\.arrow")

OnProgress = Callable[[int], None]
"""Called with the rows that are done, again and again; what it raises ends the work."""


@dataclass(frozen=True)
class PrepareSpec:
    """What decides the tokens of a file."""

    rows: Path
    tokenizer_folder: Path
    max_length: int
    assistant_only_loss: bool
    packing: bool = False

    @classmethod
    def of(cls, rows: Path, tokenizer_folder: Path, method: Method, *, is_eval: bool = False) -> "PrepareSpec":
        """That of a job's file. Rows to evaluate on are never packed: their loss is compared between jobs."""
        return cls(
            rows, tokenizer_folder, method.max_length, method.assistant_only_loss, method.packing and not is_eval
        )

    def key(self) -> str:
        """Names the result: the same for the same tokens, wherever the files lie."""
        parts = {
            "version": VERSION,
            "libraries": [version(name) for name in ("transformers", "tokenizers", "jinja2", "trl")],
            "rows": content_of(self.rows),
            "tokenizer": tokenizer_digest(self.tokenizer_folder),
            "max_length": self.max_length,
            "assistant_only_loss": self.assistant_only_loss,
            "packing": self.packing,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass
class Counts:
    """What became of a file's rows, as the manifest tells it."""

    num_rows: int = 0
    """Of the dataset."""
    num_untrained_rows: int = 0
    """Of them without a token to learn: they are left out."""
    num_truncated_rows: int = 0
    """Of them longer than `max_length` and cut."""
    num_dropped_tokens: int = 0
    """Tokens that were lost with the cuts."""
    num_split_rows: int = 0
    """Of them longer than `max_length` and continued in another place, as packing does."""
    num_sequences: int = 0
    """Rows that the trainer reads."""
    num_tokens: int = 0
    num_trained_tokens: int = 0
    useful_fraction: dict[str, float] = field(default_factory=dict)
    """Tokens / places computed, by rows of a batch: the rest is padding."""


class Prepared:
    """The prepared rows of one file; in use, and so safe from eviction, until `close` or the end of the process."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self.counts = Counts(**entry.manifest["counts"])

    @property
    def key(self) -> str:
        return self._entry.folder.name

    def dataset(self) -> "Dataset":
        """The rows, mapped into memory: `input_ids`, `labels`, and `seq_lengths` of the documents in packed rows."""
        from datasets import Dataset

        return Dataset.from_file(str(self._entry.folder / DATA_FILE))

    def close(self) -> None:
        self._entry.close()


def prepare_rows(
    spec: PrepareSpec,
    cache_folder: Path,
    tokenizer: Callable[[], "PreTrainedTokenizerBase"],
    on_progress: OnProgress = lambda _: None,
) -> Prepared:
    """The prepared rows of a file, from the cache where they are there.

    `tokenizer` is only called where they are not. While another process makes them, `on_progress` is called with 0.
    Raises what `train.data.tokens.encode.encode` raises, and `DatasetInvalidError` when no token is left to learn.
    """

    def build(folder: Path) -> dict[str, Any]:
        rows = _counted(read_rows(spec.rows), on_progress)
        counts = _build(spec, rows, tokenizer(), folder)
        return {"spec": _document(spec), "counts": asdict(counts)}

    return Prepared(prepared_cache(cache_folder).get(spec.key(), build, lambda: on_progress(0)))


def prepared_cache(cache_folder: Path) -> PreparedCache:
    return PreparedCache(cache_folder / "prepared")


def _build(
    spec: PrepareSpec, rows: Iterable[dict[str, Any]], tokenizer: "PreTrainedTokenizerBase", folder: Path
) -> Counts:
    counts = Counts()
    max_length = None if spec.packing else spec.max_length
    encoded = encode(rows, tokenizer, max_length=max_length, assistant_only_loss=spec.assistant_only_loss)
    learned = _learned(encoded, counts)
    lengths = _write_packed(learned, spec.max_length, folder, counts) if spec.packing else _write(learned, folder)
    if not counts.num_trained_tokens:
        raise DatasetInvalidError(
            f"None of the {counts.num_rows} rows has a token to learn; {counts.num_truncated_rows} of them are longer "
            f"than method.max_length ({spec.max_length}). Raise it, or check which messages are the assistant's."
        )
    counts.num_sequences, counts.num_tokens = len(lengths), int(lengths.sum())
    counts.useful_fraction = {str(size): _useful_fraction(lengths, size) for size in BATCH_SIZES}
    return counts


def _learned(rows: Iterable[EncodedRow], counts: Counts) -> Iterator[tuple[Tokens, Tokens]]:
    """Ids and labels of the rows that teach something. The first token of a row is never a target."""
    for row in rows:
        counts.num_rows += 1
        if lost := row.num_tokens - len(row.input_ids):
            counts.num_truncated_rows += 1
            counts.num_dropped_tokens += lost
        if row.labels is None:
            counts.num_untrained_rows += 1
            continue
        labels = np.asarray(row.labels, dtype=np.int32)
        counts.num_trained_tokens += int((labels[1:] != IGNORE).sum())
        yield np.asarray(row.input_ids, dtype=np.int32), labels


def _write(rows: Iterable[tuple[Tokens, Tokens]], folder: Path) -> Lengths:
    lengths = []
    with ArrowRowWriter(folder / DATA_FILE, is_packed=False) as out:
        for ids, labels in rows:
            out.write(ids, labels)
            lengths.append(len(ids))
    return np.asarray(lengths, dtype=np.int64)


def _write_packed(rows: Iterable[tuple[Tokens, Tokens]], capacity: int, folder: Path, counts: Counts) -> Lengths:
    """Put the tokens down as they come, then row by row: in memory are only the lengths."""
    pieces: list[int] = []
    aside = [folder / "ids.tmp", folder / "labels.tmp"]
    with aside[0].open("wb") as ids_file, aside[1].open("wb") as labels_file:
        for ids, labels in rows:
            lengths = list(piece_lengths(len(ids), capacity))
            counts.num_split_rows += len(lengths) > 1
            # What a piece begins with would be predicted from the document before it.
            counts.num_trained_tokens -= int((labels[capacity::capacity] != IGNORE).sum())
            labels[::capacity] = IGNORE
            ids_file.write(ids.tobytes())
            labels_file.write(labels.tobytes())
            pieces += lengths
    if not pieces:
        return np.empty(0, dtype=np.int64)
    row_lengths = _write_in_rows(np.asarray(pieces, dtype=np.int64), capacity, folder, aside)
    for file in aside:
        file.unlink()
    return row_lengths


def _write_in_rows(lengths: Lengths, capacity: int, folder: Path, files: list[Path]) -> Lengths:
    ids, labels = (np.memmap(file, dtype=np.int32, mode="r") for file in files)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    row_lengths = []
    with ArrowRowWriter(folder / DATA_FILE, is_packed=True) as out:
        for documents in best_fit(lengths, capacity):
            spans = [slice(starts[number], starts[number + 1]) for number in documents]
            row_ids = np.concatenate([ids[span] for span in spans])
            row_labels = np.concatenate([labels[span] for span in spans])
            out.write(row_ids, row_labels, lengths[documents].astype(np.int32))
            row_lengths.append(len(row_ids))
    return np.asarray(row_lengths, dtype=np.int64)


def _useful_fraction(lengths: Lengths, batch_size: int) -> float:
    """Tokens / places of batches of rows in random order, each padded to its longest row."""
    order = np.random.default_rng(0).permutation(lengths)
    starts = np.arange(0, len(order), batch_size)
    widths = np.maximum.reduceat(order, starts)
    heights = np.diff(np.append(starts, len(order)))
    return round(float(lengths.sum() / (widths * heights).sum()), 4)


def _counted(rows: Iterable[dict[str, Any]], on_progress: OnProgress) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows, 1):
        yield row
        if number % PROGRESS_ROWS == 0:
            on_progress(number)


def _document(spec: PrepareSpec) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(spec).items()}


def is_named_by_content(rows: Path) -> bool:
    """Whether `content_of` need not read the rows, which may then be elsewhere."""
    return _NAMED_BY_CONTENT.fullmatch(rows.name) is not None


def content_of(rows: Path) -> str:
    """What tells the rows from all others: the name that a bucket gave them by their content, or their hash."""
    if is_named_by_content(rows):
        return rows.name
    with rows.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tokenizer_digest(folder: Path) -> str:
    """What tells the tokenizer and chat template of a base model from all others."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()}):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder)}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()

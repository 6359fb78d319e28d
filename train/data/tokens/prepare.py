"""Prepare a dataset's rows for the trainer: tokenise, mask and pack them once, then open them from a cache.

Jobs that need the same tokens share them, and so do all attempts of a job.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ftlab.files import sha256_of
from ftlab.schemas.methods import GrpoMethod, Method, RowKind
from train.data.eval_split import RowSelection
from train.data.rows.canonical import CanonicalFile, Row
from train.data.rows.errors import DatasetInvalidError, rows_missing
from train.data.rows.labels import refuse_one_label
from train.data.tokens.arrow_rows import (
    DATA_FILE,
    PAIR_COLUMNS,
    RATED_COLUMNS,
    TEXT_COLUMNS,
    write_packed,
    write_rows,
)
from train.data.tokens.encode import IGNORE, TokenisedRow, Tokens, labelled, num_starting_pieces, num_taught, tokenise
from train.data.tokens.pack import Lengths
from train.data.tokens.prepared_cache import Entry, PreparedCache
from train.data.tokens.prompts import Prompt, prompts, write_prompts
from train.data.tokens.render import Renderer
from train.model.tokenizer import TOKENIZER_FILES

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

VERSION = 8
"""Version of the prepared rows; a new number makes a new cache entry."""
PROGRESS_ROWS = 1000
_COLUMNS = {RowKind.PREFERENCE: PAIR_COLUMNS, RowKind.UNPAIRED: RATED_COLUMNS}
"""Columns of prepared rows by kind, where they are not those of a text."""
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
"""Batch sizes for which the useful fraction is reported."""

_NAMED_BY_CONTENT = re.compile(r"[0-9a-f]{64}-[0-9a-f]{12}\.arrow")

OnProgress = Callable[[int], None]
"""Called repeatedly with the number of rows done; an exception stops the preparation."""


class Observer(Protocol):
    """Observes all rows of a file, batch by batch, while they are prepared."""

    def on_rendered(self, rows: list[TokenisedRow]) -> None:
        """Called with rendered rows, while the tokenizer's threads work on them."""

    def on_tokenised(self, rows: list[TokenisedRow]) -> None:
        """Called with the same rows once they have their tokens."""

    def on_end(self) -> None:
        """Called when all rows are prepared, while the file is still open."""


Observe = Callable[[CanonicalFile, Renderer], Observer]
"""Makes the observer of a file whose rows this renderer renders."""


@dataclass(frozen=True)
class PrepareSpec:
    """Everything that determines the tokens of a file."""

    rows: Path
    tokenizer_folder: Path
    max_length: int
    assistant_only_loss: bool
    packing: bool = False
    kinds: tuple[RowKind, ...] = (RowKind.MESSAGES, RowKind.TEXT)
    """Kinds of rows that are accepted. The result depends on the kind that the rows have, not on these."""
    max_prompt_length: int | None = None
    """Most tokens of a prompt, where the model generates the answers itself; else `None`."""
    needs_reference: bool = False
    """Whether every prompt needs a reference answer. The result does not depend on it."""
    selection: RowSelection | None = None
    """The rows to prepare, by default all of them."""

    @classmethod
    def of(
        cls,
        rows: Path,
        tokenizer_folder: Path,
        method: Method,
        *,
        is_eval: bool = False,
        selection: RowSelection | None = None,
    ) -> "PrepareSpec":
        """The spec of a job's file. Evaluation rows are never packed, since their loss is compared between jobs."""
        return cls(
            rows,
            tokenizer_folder,
            method.max_length,
            method.assistant_only_loss,
            method.packing and not is_eval,
            method.row_kinds,
            method.max_prompt_length if isinstance(method, GrpoMethod) else None,
            isinstance(method, GrpoMethod) and bool(method.compared_rewards),
            selection,
        )

    def key(self) -> str:
        """Name of the result: the same for the same tokens, wherever the files are."""
        parts: dict[str, Any] = {
            "version": VERSION,
            "libraries": [version(name) for name in ("transformers", "tokenizers", "jinja2", "trl")],
            "rows": content_of(self.rows),
            "tokenizer": tokenizer_digest(self.tokenizer_folder),
            "max_length": self.max_length,
            "assistant_only_loss": self.assistant_only_loss,
            "packing": self.packing,
        }
        if self.max_prompt_length is not None:
            parts["max_length"] = None
            parts["max_prompt_length"] = self.max_prompt_length
        if self.selection is not None:
            parts["selection"] = self.selection.digest
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass
class Counts:
    """Results of preparing a file, as written in the manifest."""

    num_rows: int = 0
    """Rows of the dataset, or those that were selected."""
    num_untrained_rows: int = 0
    """Rows without a trained token, and pairs whose answers are equal once cut, which are skipped."""
    num_truncated_rows: int = 0
    """Rows longer than `max_length`, which are cut."""
    num_dropped_tokens: int = 0
    """Tokens lost by cutting."""
    num_split_rows: int = 0
    """Rows longer than `max_length`, which packing splits."""
    num_sequences: int = 0
    """Rows that the trainer reads."""
    num_tokens: int = 0
    num_trained_tokens: int = 0
    num_long_prompts: int = 0
    """Prompts that leave no room for an answer, which are skipped."""
    num_unreferenced_prompts: int = 0
    """Prompts without a reference answer."""
    first_unreferenced_row: int = 0
    """Number of the first of these rows in its dataset."""
    longest: int = 0
    """Tokens of the longest row, once cut; with packing, of the longest document."""
    max_token_id: int = 0
    num_desirable: int = 0
    """Rated answers that are rated good."""
    useful_fraction: dict[str, float] = field(default_factory=dict)
    """Tokens / positions computed, by batch size; the rest is padding."""


class Prepared:
    """The prepared rows of one file; not evicted until `close` or the end of the process."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self.counts = Counts(**entry.manifest["counts"])

    @property
    def key(self) -> str:
        return self._entry.folder.name

    def dataset(self) -> "Dataset":
        """The rows, memory-mapped, with the columns of `train.data.tokens.arrow_rows`."""
        from datasets import Dataset

        return Dataset.from_file(str(self._entry.folder / DATA_FILE))

    def close(self) -> None:
        self._entry.close()


def prepare_rows(
    spec: PrepareSpec,
    cache_folder: Path,
    tokenizer: Callable[[], "PreTrainedTokenizerBase"],
    on_progress: OnProgress = lambda _: None,
    observe: Observe | None = None,
) -> Prepared:
    """The prepared rows of a file, from the cache if possible.

    `tokenizer` and `observe` are only called when the rows must be made. While another process makes them,
    `on_progress` is called with 0. Raise what `train.data.tokens.encode.tokenise` raises, and `DatasetInvalidError`
    for rows of another kind and when no trained token is left.
    """

    def build(folder: Path) -> dict[str, Any]:
        with CanonicalFile.open(spec.rows) as file:
            _check_kind(file.kind, spec)
            counts = _build(spec, file, tokenizer(), folder, on_progress, observe)
        return {"spec": _document(spec), "kind": file.kind, "counts": asdict(counts)}

    entry = prepared_cache(cache_folder).get(spec.key(), build, lambda: on_progress(0))
    _check_kind(RowKind(entry.manifest["kind"]), spec)
    prepared = Prepared(entry)
    _check_references(prepared.counts, spec)
    return prepared


def _check_kind(kind: RowKind, spec: PrepareSpec) -> None:
    if kind not in spec.kinds:
        raise DatasetInvalidError(f"The rows are of kind '{kind}', and the method trains on {' or '.join(spec.kinds)}.")


def _check_references(counts: Counts, spec: PrepareSpec) -> None:
    if spec.needs_reference and counts.num_unreferenced_prompts:
        number = counts.num_unreferenced_prompts
        raise DatasetInvalidError(
            f"{number} of the {counts.num_rows} rows {'has' if number == 1 else 'have'} no reference answer "
            f"(the first is row {counts.first_unreferenced_row}), and a reward in method.rewards compares with them. "
            "Add the answers, or choose rewards that need none."
        )


def check_labels(counts: Counts, method: Method) -> None:
    """Raise `DatasetInvalidError` for rated answers to train on that all have the same label."""
    if RowKind.UNPAIRED in method.row_kinds:
        refuse_one_label(counts.num_desirable, counts.num_sequences)


def prepared_cache(cache_folder: Path) -> PreparedCache:
    return PreparedCache(cache_folder / "prepared")


def _build(
    spec: PrepareSpec,
    file: CanonicalFile,
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path,
    on_progress: OnProgress,
    observe: Observe | None,
) -> Counts:
    counts = Counts()
    renderer = Renderer(tokenizer, assistant_only_loss=spec.assistant_only_loss)
    lines, numbers = file.rows(), None
    if spec.selection is not None:
        lines, numbers = compress(lines, spec.selection.flags.tolist()), spec.selection.numbers()
    if spec.max_prompt_length is not None:
        found = prompts(_counted(lines, on_progress), renderer, numbers)
        return _build_prompts(found, spec.max_prompt_length, counts, folder)
    observer = observe(file, renderer) if observe else None
    max_length = None if spec.packing else spec.max_length
    rows = _learned(_counted(lines, on_progress), numbers, renderer, max_length, counts, observer)
    if spec.packing:
        texts = ((ids, labels) for ((ids, labels, *_),) in rows)
        lengths = write_packed(_split(texts, spec.max_length, counts), spec.max_length, folder)
        counts.longest = min(counts.longest, spec.max_length)
    else:
        lengths = write_rows(rows, folder, _COLUMNS.get(file.kind, TEXT_COLUMNS))
    if not counts.num_trained_tokens:
        raise DatasetInvalidError(
            f"None of the {counts.num_rows} rows has a token to train on; {counts.num_truncated_rows} of them are "
            f"longer than method.max_length ({spec.max_length}). Raise it, or check which messages are the assistant's."
        )
    if observer is not None:
        observer.on_end()
    counts.num_sequences, counts.num_tokens = len(lengths), int(lengths.sum())
    counts.useful_fraction = {str(size): _useful_fraction(lengths, size) for size in BATCH_SIZES}
    return counts


def _build_prompts(found: Iterable[Prompt | None], max_prompt_length: int, counts: Counts, folder: Path) -> Counts:
    def kept() -> Iterator[Prompt]:
        for prompt in found:
            counts.num_rows += 1
            if prompt is None or not len(prompt.ids):
                counts.num_untrained_rows += 1
            elif len(prompt.ids) > max_prompt_length:
                counts.num_long_prompts += 1
            else:
                if prompt.reference is None:
                    counts.num_unreferenced_prompts += 1
                    counts.first_unreferenced_row = counts.first_unreferenced_row or prompt.number
                counts.max_token_id = max(counts.max_token_id, int(prompt.ids.max()))
                yield prompt

    lengths = write_prompts(kept(), folder)
    if not len(lengths):
        raise DatasetInvalidError(
            f"None of the {counts.num_rows} rows has a prompt to learn from; {counts.num_long_prompts} prompts are "
            f"longer than {max_prompt_length} tokens, which is method.max_length without method.max_completion_length. "
            "Raise method.max_length, or check that every row has a message before the assistant's."
        )
    counts.num_sequences, counts.num_tokens = len(lengths), int(lengths.sum())
    counts.longest = int(lengths.max())
    return counts


def _learned(
    lines: Iterable[tuple[int, Row]],
    numbers: Iterable[int] | None,
    renderer: Renderer,
    max_length: int | None,
    counts: Counts,
    observer: Observer | None,
) -> Iterator[list[tuple[Tokens, ...]]]:
    """Ids and labels of the texts of each row that can be trained on; for a rated answer, its rating too."""
    on_rendered = observer.on_rendered if observer else lambda rows: None
    for rows in tokenise(lines, renderer, max_length=max_length, numbers=numbers, on_rendered=on_rendered):
        if observer is not None:
            observer.on_tokenised(rows)
        for row in rows:
            texts = labelled(row, max_length)
            counts.num_rows += 1
            if lost := sum(map(len, row.encodings)) - sum(len(ids) for ids, _ in texts):
                counts.num_truncated_rows += 1
                counts.num_dropped_tokens += lost
            num_trained = num_taught(texts)
            if not num_trained:
                counts.num_untrained_rows += 1
                continue
            counts.num_trained_tokens += num_trained
            counts.longest = max(counts.longest, *(len(ids) for ids, _ in texts))
            counts.max_token_id = max(counts.max_token_id, *(int(ids.max()) for ids, _ in texts))
            if "label" not in row.row:
                yield list(texts)
                continue
            counts.num_desirable += row.row["label"]
            yield [(*text, np.array([row.row["label"]], dtype=np.int32)) for text in texts]


def _split(rows: Iterable[tuple[Tokens, Tokens]], capacity: int, counts: Counts) -> Iterator[tuple[Tokens, Tokens]]:
    """The rows, with labels removed where packing splits them."""
    for ids, labels in rows:
        counts.num_split_rows += len(ids) > capacity
        counts.num_trained_tokens -= num_starting_pieces(labels, capacity)
        labels[::capacity] = IGNORE
        yield ids, labels


def _useful_fraction(lengths: Lengths, batch_size: int) -> float:
    """Tokens / positions of batches of rows in random order, with each text padded to the longest of its batch."""
    order = np.random.default_rng(0).permutation(lengths)
    starts = np.arange(0, len(order), batch_size)
    widths = np.maximum.reduceat(order.max(axis=1), starts)
    heights = np.diff(np.append(starts, len(order))) * lengths.shape[1]
    return round(float(lengths.sum() / (widths * heights).sum()), 4)


def _counted(lines: Iterable[tuple[int, Row]], on_progress: OnProgress) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, 1):
        yield line
        if number % PROGRESS_ROWS == 0:
            on_progress(number)


def _document(spec: PrepareSpec) -> dict[str, Any]:
    parts = asdict(replace(spec, selection=None)) | {"selection": spec.selection and spec.selection.digest}
    return {name: str(value) if isinstance(value, Path) else value for name, value in parts.items()}


def is_named_by_content(rows: Path) -> bool:
    """Whether `content_of` works without reading the rows, which may then be on another machine."""
    return _NAMED_BY_CONTENT.fullmatch(rows.name) is not None


def content_of(rows: Path) -> str:
    """Identity of the rows: the name that a bucket gave them by their content, or their hash.

    Raise `DatasetInvalidError` for rows that are missing.
    """
    if is_named_by_content(rows):
        return rows.name
    try:
        return sha256_of(rows)
    except FileNotFoundError:
        raise rows_missing() from None


def tokenizer_digest(folder: Path) -> str:
    """Identity of the tokenizer and chat template of a base model."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()}):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder)}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()

"""One pass over a dataset, and what comes of it as a report."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.schemas.check_rules import CheckRule
from ftlab.schemas.checks import DEFAULT_MAX_FINDINGS, CheckReport, Duplicates, Overlap
from ftlab.schemas.config import TrainingConfig
from ftlab.schemas.methods import LEARNABLE_KINDS
from train.data.doctor.content import ContentCheck, text_of
from train.data.doctor.eval_rows import read_eval_rows
from train.data.doctor.findings import Findings
from train.data.doctor.lengths import LengthCounts
from train.data.doctor.near_duplicates import Pairs, Sketch
from train.data.doctor.reading import ReadRow, read_tokens
from train.data.rows.canonical import CanonicalFile, Kind, Row
from train.data.tokens.render import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VERSION = 3
"""Of what a report says; another number, another report of the same dataset."""
HUGE = 16
"""Times `max_length` that a row is called huge at."""
STOP_ROWS = 200
"""Rows, at the beginning, whose turns are looked at for what ends them."""

OnProgress = Callable[[int, int], None]
"""Called with the rows that are done and the rows in all; what it raises ends the work."""


@dataclass(frozen=True)
class CheckOptions:
    """What a dataset is looked at with; names as in a job's config."""

    max_length: int
    assistant_only_loss: bool = True
    packing: bool = False
    max_findings: int = DEFAULT_MAX_FINDINGS


def examine(
    rows: Path,
    tokenizer: "PreTrainedTokenizerBase",
    options: CheckOptions,
    *,
    eval_rows: tuple[str, Path] | None = None,
    eval_is_sound: bool = False,
    on_progress: OnProgress = lambda done, total: None,
) -> CheckReport:
    """Look at all rows of a canonical file in one pass; memory does not grow with their number.

    `eval_rows` are the id and the file of the dataset to evaluate on. It must share no row with the other, and no job
    may fail with it; where `eval_is_sound` says that none does, it is not tokenised. Raise `InvalidRequestError` with
    code `tokenizer_unsupported`, and `DatasetInvalidError` for a damaged file.
    """
    with CanonicalFile.open(rows) as file:
        examination = _Examination(file, tokenizer, options, on_progress)
        overlap = None
        if eval_rows is not None:
            eval_id, path = eval_rows
            with CanonicalFile.open(path) as eval_file:
                examination.read(eval_file.num_rows)
                batches = _rows_of(eval_file) if eval_is_sound else examination.eval_rows(eval_file)
                overlap = examination.compare(eval_id, eval_file, batches)
        else:
            examination.read()
        return examination.report(overlap)


class _Examination:
    def __init__(
        self,
        file: CanonicalFile,
        tokenizer: "PreTrainedTokenizerBase",
        options: CheckOptions,
        on_progress: OnProgress,
    ) -> None:
        self._file = file
        self._tokenizer = tokenizer
        self._options = options
        self._on_progress = on_progress
        self._renderer = Renderer(tokenizer, assistant_only_loss=options.assistant_only_loss)
        self._findings = Findings(options.max_findings)
        self._content = ContentCheck(tokenizer.all_special_tokens)
        self._sketch = Sketch()
        self._lengths = LengthCounts()
        self._kept_lengths = LengthCounts()
        self._num_truncated = self._num_dropped = self._num_untrained = 0
        self._tokens = self._trained_tokens = 0
        self._total = file.num_rows
        self._ends_turns: bool | None = None
        self._says_stop = tuple(token for token in tokenizer.all_special_tokens if token.strip())

    def read(self, more_rows: int = 0) -> None:
        """Read the whole file; `more_rows` are to be read after it."""
        self._total += more_rows
        self._look_at_template()
        for rows in read_tokens(
            self._file,
            self._tokenizer,
            self._renderer,
            max_length=None if self._options.packing else self._options.max_length,
            on_rendered=self._look_at_texts,
        ):
            self._look_at_tokens(rows)
            self._on_progress(rows[-1].number, self._total)
        self._look_at_whole()

    def eval_rows(self, file: CanonicalFile) -> Iterable[list[Row]]:
        """The rows of an evaluation dataset, which are looked at on the way."""
        return read_eval_rows(
            file, self._tokenizer, self._renderer, self._findings, max_length=self._options.max_length
        )

    def compare(self, eval_id: str, file: CanonicalFile, batches: Iterable[list[Row]]) -> Overlap:
        """Which rows of an evaluation dataset, that come in `batches`, are in this one."""
        sketch = Sketch()
        for rows in batches:
            exact, near = zip(*map(text_of, rows), strict=True)
            sketch.add(exact, near)
            self._on_progress(self._file.num_rows + sketch.num_rows, self._total)
        equal, alike = self._sketch.overlap(sketch)
        this = "This row of the evaluation dataset"
        scale = self._sketch.shared_scale(sketch)
        num_exact = self._add_pairs(CheckRule.EVAL_OVERLAP, equal, file, f"{this} is also {{}}.", scale)
        num_near = self._add_pairs(CheckRule.EVAL_NEAR_OVERLAP, alike, file, f"{this} says nearly the same as {{}}.")
        return Overlap(
            eval_dataset_id=eval_id,
            num_eval_rows=sketch.num_rows,
            num_exact=num_exact,
            num_near=num_near,
            is_exact_estimated=self._sketch.is_sampled or sketch.is_sampled,
        )

    def report(self, overlap: Overlap | None) -> CheckReport:
        duplicates = self._look_for_duplicates()
        counts = self._findings.counts()
        batch_size = TrainingConfig().per_device_train_batch_size
        return CheckReport(
            kind=self._file.kind,
            max_length=self._options.max_length,
            assistant_only_loss=self._options.assistant_only_loss,
            num_rows=self._file.num_rows,
            counts=counts,
            num_findings=sum(counts.values()),
            findings=self._findings.chosen(),
            lengths=self._lengths.summary(),
            tokens_per_epoch=self._tokens,
            trained_tokens_per_epoch=self._trained_tokens,
            num_truncated=self._num_truncated,
            num_dropped_tokens=self._num_dropped,
            num_untrained=self._num_untrained,
            suggested_max_length=self._lengths.suggested_max_length(),
            padding_fraction=self._kept_lengths.padding_fraction(batch_size),
            padding_batch_size=batch_size,
            packing_waste_fraction=self._lengths.packing_waste(self._options.max_length),
            duplicates=duplicates,
            overlap=overlap,
            roles=self._content.facts(),
            template=self._renderer.template.origin,
        )

    def _look_at_template(self) -> None:
        template, add = self._renderer.template, self._findings.add
        if self._file.kind is Kind.TEXT:
            return
        if self._file.kind not in LEARNABLE_KINDS:
            add(
                CheckRule.NO_METHOD,
                f"The rows are of kind '{self._file.kind}', which no training method learns from yet.",
            )
        if template.origin == "none":
            add(
                CheckRule.NO_CHAT_TEMPLATE,
                "The model has no chat template; the messages of a row become lines of text.",
            )
        elif template.origin == "training":
            add(
                CheckRule.TEMPLATE_REPAIRED,
                "The model's chat template writes earlier turns differently as a conversation grows; TRL's training "
                "template for its family, which does not, is used for training in its place.",
            )
        elif self._options.assistant_only_loss and not template.has_marks:
            add(
                CheckRule.NO_GENERATION_MARKS,
                "The model's chat template has no {% generation %} marks, without which other tools mask every token; "
                "the assistant's words are found by comparing texts instead, and are learned.",
            )

    def _look_at_texts(self, rows: list[ReadRow]) -> None:
        """All that needs no token: done while the tokenizer works."""
        texts = [text_of(row.row) for row in rows]
        self._sketch.add([exact for exact, _ in texts], [near for _, near in texts])
        for row in rows:
            for rule, message in self._content.remarks(row.row):
                self._findings.add(rule, message, row.number, row.line)
            if row.refusal is not None:
                self._findings.add(*row.refusal, row.number, row.line)
                continue
            if len(row.rendered) == 1 and not row.rendered[0].is_verbatim and (left_out := _left_out(row)):
                self._findings.add(CheckRule.LEFT_OUT_BY_TEMPLATE, left_out, row.number, row.line)
            if row.number <= STOP_ROWS:
                self._look_at_ends(row)

    def _look_at_ends(self, row: ReadRow) -> None:
        for rendered in row.rendered:
            for start, end in rendered.spans:
                ends = rendered.text[start:end].rstrip().endswith(self._says_stop) if self._says_stop else False
                self._ends_turns = bool(self._ends_turns) or ends

    def _look_at_tokens(self, rows: list[ReadRow]) -> None:
        kept_lengths = []
        for row in rows:
            if row.refusal is not None:
                continue
            kept = row.num_tokens if self._options.packing else min(row.num_tokens, self._options.max_length)
            self._look_at_length(row, kept)
            if not row.num_trained:
                self._num_untrained += 1
                self._findings.add(CheckRule.UNTRAINED_ROW, _why_untrained(row), row.number, row.line)
                continue
            self._tokens += kept
            self._trained_tokens += row.num_trained
            kept_lengths.append(kept)
        self._lengths.add(row.num_tokens for row in rows if row.refusal is None)
        self._kept_lengths.add(kept_lengths)

    def _look_at_length(self, row: ReadRow, kept: int) -> None:
        max_length = self._options.max_length
        if dropped := row.num_tokens - kept:
            self._num_truncated += 1
            self._num_dropped += dropped
            message = (
                f"The row has {row.num_tokens:,} tokens; {dropped:,} are cut off at max_length {max_length:,}, "
                f"{row.num_learned - row.num_trained:,} of them to be learned."
            )
            self._findings.add(CheckRule.TRUNCATED_ROW, message, row.number, row.line)
        if row.num_tokens > HUGE * max_length:
            message = f"The row is {row.num_tokens / max_length:,.0f} times as long as max_length ({max_length:,})."
            self._findings.add(CheckRule.HUGE_ROW, message, row.number, row.line)

    def _look_at_whole(self) -> None:
        if not self._trained_tokens:
            self._findings.add(
                CheckRule.NOTHING_TO_LEARN,
                f"None of the {self._file.num_rows:,} rows has a token to learn; {self._num_truncated:,} of them are "
                f"longer than max_length ({self._options.max_length:,}). Raise it, or check which messages are the "
                "assistant's.",
            )
        if self._ends_turns is False and self._options.assistant_only_loss and self._file.kind is not Kind.TEXT:
            self._findings.add(
                CheckRule.NO_END_OF_TURN,
                "The learned turns end without a special token, so that the model may not learn to stop.",
            )

    def _look_for_duplicates(self) -> Duplicates:
        sketch = self._sketch
        exact, near = sketch.duplicates(), sketch.near_duplicates()
        file = self._file
        num_exact = self._add_pairs(CheckRule.EXACT_DUPLICATE, exact, file, "The row is the same as {}.", sketch.scale)
        num_near = self._add_pairs(CheckRule.NEAR_DUPLICATE, near, file, "The row says nearly the same as {}.")
        return Duplicates(
            num_exact=num_exact,
            num_near=num_near,
            is_exact_estimated=sketch.is_sampled,
            num_rows_compared=sketch.num_near_rows,
        )

    def _add_pairs(self, rule: CheckRule, pairs: Pairs, file: CanonicalFile, words: str, scale: float = 1.0) -> int:
        """Add findings for the first pairs and count them all; return their number, scaled up from a sample."""
        shown = min(len(pairs.rows), self._options.max_findings)
        for row, original in zip(pairs.rows[:shown].tolist(), pairs.originals[:shown].tolist(), strict=True):
            line, of_line = file.row(row)[0], self._file.row(original)[0]
            where = "of the training dataset" if file is not self._file else "before it"
            place = f"row {original + 1} (line {of_line}) {where}"
            self._findings.add(rule, words.format(place), row + 1, line)
        total = min(round(len(pairs.rows) * scale), file.num_rows)
        self._findings.count(rule, total - shown)
        return total


def _rows_of(file: CanonicalFile) -> Iterable[list[Row]]:
    return ([row for _, row in rows] for rows in file.batches())


def _left_out(row: ReadRow) -> str | None:
    text = row.rendered[0].text
    for number, message in enumerate(row.row.get("messages", ()), 1):
        if message["content"].strip() not in text:
            return f"The chat template leaves out message {number} ({message['role']}), or writes it differently."
    return None


def _why_untrained(row: ReadRow) -> str:
    if row.num_learned:
        return f"All {row.num_learned:,} tokens to be learned lie behind max_length and are cut off."
    return "No token of the row is to be learned: it has no message of the assistant with a weight above 0."

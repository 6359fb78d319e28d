"""Check a dataset in one pass and report the results."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import InvalidRequestError
from ftlab.schemas.check_rules import CheckRule
from ftlab.schemas.checks import DEFAULT_MAX_FINDINGS, CheckReport
from ftlab.schemas.training import TrainingConfig
from train.data.doctor.content import ContentCheck, text_of
from train.data.doctor.eval_rows import EvalRows, OnRows, check_eval_rows
from train.data.doctor.findings import Findings
from train.data.doctor.left_out import first_left_out, untrained_greeting, without_indentation
from train.data.doctor.lengths import LengthCounts
from train.data.doctor.near_duplicates import Fingerprints
from train.data.doctor.references import reference_remarks
from train.data.doctor.repeats import add_repeats
from train.data.rows.canonical import CanonicalFile, Kind
from train.data.rows.errors import DatasetInvalidError
from train.data.rows.labels import LabelCounts
from train.data.tokens.encode import TokenisedRow, conversations, is_equal_pair, num_learned, tokenise, turns_of
from train.data.tokens.render import RenderedRow, Renderer
from train.model.tokenizer import special_tokens, unknown_token_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VERSION = 11
"""Version of the report's content; a new number makes kept reports invalid."""
HUGE = 16
"""Multiple of `max_length` above which a row is called huge."""
STOP_ROWS = 200
"""Number of rows, from the first, whose turns are checked for an end-of-turn token."""

OnProgress = Callable[[int, int], None]
"""Called with the number of rows done and the total; an exception stops the check."""


@dataclass(frozen=True)
class CheckOptions:
    """Options of a check, named as in a job's config."""

    max_length: int
    assistant_only_loss: bool = True
    packing: bool = False
    max_findings: int = DEFAULT_MAX_FINDINGS
    label_weights: tuple[float, float] = (1.0, 1.0)
    """Weights of rated answers: of good ones, and of bad ones."""
    generates_answers: bool = False
    """Whether the model generates the answers itself, so that no token of a row is trained."""
    rewards: tuple[str, ...] = ()
    """Types of the rewards that compare with the reference answers of the rows."""


def examine(
    rows: Path,
    tokenizer: "PreTrainedTokenizerBase",
    options: CheckOptions,
    *,
    eval_rows: EvalRows | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> CheckReport:
    """Check all rows of a canonical file in one pass; memory does not grow with their number.

    The file must share no row with `eval_rows`, and no job may fail because of those. Raise `InvalidRequestError` with
    code `tokenizer_unsupported`, and `DatasetInvalidError` for a damaged file.
    """
    with CanonicalFile.open(rows) as file:
        num_rows = total = file.num_rows
        if eval_rows is not None and eval_rows.fingerprints is None:
            with CanonicalFile.open(eval_rows.path) as eval_file:
                total += eval_file.num_rows
        renderer = Renderer(tokenizer, assistant_only_loss=options.assistant_only_loss)
        doctor = Examination(file, renderer, options)
        for batch in tokenise(
            file.rows(),
            renderer,
            max_length=None,
            on_rendered=doctor.on_rendered,
            on_refusal=doctor.on_refusal,
        ):
            doctor.on_tokenised(batch)
            on_progress(batch[-1].number, total)
        return doctor.report(eval_rows, lambda done: on_progress(num_rows + done, total))


class Examination:
    """Observes the rows of a file while they become tokens, then reports. Memory does not grow with the rows."""

    def __init__(self, file: CanonicalFile, renderer: Renderer, options: CheckOptions) -> None:
        self._file = file
        self._renderer = renderer
        self._options = options
        self._findings = Findings(options.max_findings)
        special = special_tokens(renderer.tokenizer).values()
        self._content = ContentCheck(special)
        self._fingerprints = Fingerprints()
        self._labels = LabelCounts()
        self._lengths = LengthCounts()
        self._kept_lengths = LengthCounts()
        self._num_truncated = self._num_dropped = self._num_untrained = 0
        self._tokens = self._trained_tokens = 0
        self._searched: dict[int, list[RenderedRow]] = {}
        self._ends_turns: bool | None = None
        self._trains_answers = options.assistant_only_loss and not options.generates_answers
        self._says_stop = tuple(token for token in special if token.strip())
        self._unknown_id = unknown_token_id(renderer.tokenizer)
        self._look_at_template()

    def on_refusal(self, number: int, line: int, error: InvalidRequestError) -> None:
        """Add a finding for a row that cannot be rendered."""
        is_refused = isinstance(error, DatasetInvalidError)
        rule = CheckRule.TEMPLATE_FAILED if is_refused else CheckRule.TURNS_NOT_FOUND
        self._findings.add(rule, error.message, number, line)

    def on_rendered(self, rows: list[TokenisedRow]) -> None:
        """Check everything that needs no tokens, while the tokenizer works."""
        self._fingerprints.add(*zip(*(text_of(row.row) for row in rows), strict=True))
        for row in rows:
            for rule, message in self._content.remarks(row.row):
                self._findings.add(rule, message, row.number, row.line)
            for rule, message in reference_remarks(row.row, self._options.rewards):
                self._findings.add(rule, message, row.number, row.line)
            texts = self._with_all_turns(row)
            parts = conversations(row.row, self._renderer)
            if left_out := first_left_out(parts, texts):
                self._findings.add(CheckRule.LEFT_OUT_BY_TEMPLATE, left_out, row.number, row.line)
            elif stripped := without_indentation(parts, texts):
                self._findings.add(CheckRule.WHITE_SPACE_LEFT_OUT, stripped, row.number, row.line)
            if self._trains_answers and (untrained := untrained_greeting(parts, texts)):
                self._findings.add(CheckRule.UNTRAINED_GREETING, untrained, row.number, row.line)
            if row.number <= STOP_ROWS:
                self._look_at_ends(texts)
            self._look_at_starts(row, texts)

    def on_tokenised(self, rows: list[TokenisedRow]) -> None:
        """Count the tokens that are read, trained and cut off."""
        max_length = self._options.max_length
        lengths, kept_lengths = [], []
        for row in rows:
            texts = self._searched.pop(row.number, row.texts)
            self._look_at_unknown(row)
            if not texts or self._options.generates_answers:
                continue
            turns = row.turns if texts is row.texts else turns_of(row.encodings, texts)
            learned = num_learned(turns)
            limit = None if self._options.packing else max_length
            trained = [num_learned([spans], limit) for spans in turns]
            kept = [len(each) if limit is None else min(len(each), limit) for each in row.encodings]
            lengths.append(row.num_tokens)
            self._look_at_length(row, sum(kept), learned - sum(trained))
            if not all(trained):
                self._num_untrained += 1
                self._findings.add(CheckRule.UNTRAINED_ROW, _why_untrained(learned), row.number, row.line)
                continue
            if is_equal_pair([encoding.ids[:limit] for encoding in row.encodings]):
                self._num_untrained += 1
                message = f"The two answers are equal in the first {max_length:,} tokens; training skips the pair."
                self._findings.add(CheckRule.EQUAL_WHEN_CUT, message, row.number, row.line)
                continue
            self._labels.add(row.row)
            self._tokens += sum(kept)
            self._trained_tokens += num_learned(turns, piece_length=max_length) if limit is None else sum(trained)
            kept_lengths.append(max(kept))
        self._lengths.add(lengths)
        self._kept_lengths.add(kept_lengths)

    def report(self, eval_rows: EvalRows | None = None, on_eval_rows: OnRows = lambda done: None) -> CheckReport:
        """Report on all rows, and on the evaluation rows, which are read here unless their fingerprints are known."""
        options = self._options
        self._look_at_whole()
        if eval_rows is not None and eval_rows.fingerprints is None:
            with CanonicalFile.open(eval_rows.path) as file:
                fingerprints = check_eval_rows(
                    file,
                    self._renderer,
                    self._findings,
                    kind=self._file.kind,
                    max_length=options.max_length,
                    on_rows=on_eval_rows,
                )
            eval_rows = replace(eval_rows, fingerprints=fingerprints)
        duplicates, overlap = add_repeats(self._findings, self._file, self._fingerprints, eval_rows)
        counts = self._findings.counts()
        batch_size = TrainingConfig().per_device_train_batch_size
        return CheckReport(
            kind=self._file.kind,
            max_length=options.max_length,
            assistant_only_loss=options.assistant_only_loss,
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
            packing_waste_fraction=self._lengths.packing_waste(options.max_length),
            duplicates=duplicates,
            overlap=overlap,
            roles=self._content.facts(),
            template=self._renderer.template.origin,
        )

    def _look_at_template(self) -> None:
        template, add = self._renderer.template, self._findings.add
        if self._file.kind is Kind.TEXT:
            return
        if template.origin == "none":
            add(
                CheckRule.NO_CHAT_TEMPLATE,
                "The model has no chat template; the messages of a row are written one per line.",
            )
        elif template.origin == "training":
            add(
                CheckRule.TEMPLATE_REPAIRED,
                "The model's chat template writes earlier turns differently as a conversation grows; training uses "
                "TRL's training template for its family instead.",
            )
        elif self._trains_answers and not template.has_marks:
            add(
                CheckRule.NO_GENERATION_MARKS,
                "The model's chat template has no {% generation %} marks, without which other tools mask every token; "
                "FineTune Lab finds the assistant's tokens by itself, so there is nothing to do.",
            )

    def _with_all_turns(self, row: TokenisedRow) -> list[RenderedRow]:
        """The texts of the row, rendered again where the turns behind `max_length` were not searched.

        Empty where the row is refused.
        """
        if all(text.has_all_turns for text in row.texts):
            return row.texts
        texts = self._searched[row.number] = []
        try:
            texts.extend(self._renderer.render(row.number, part) for _, part in conversations(row.row, self._renderer))
        except InvalidRequestError as error:
            self.on_refusal(row.number, row.line, error)
        return texts

    def _look_at_ends(self, texts: list[RenderedRow]) -> None:
        for text in texts:
            for start, end in text.spans:
                ends = text.text[start:end].rstrip().endswith(self._says_stop) if self._says_stop else False
                self._ends_turns = bool(self._ends_turns) or ends

    def _look_at_starts(self, row: TokenisedRow, texts: list[RenderedRow]) -> None:
        """A template of the model itself delimits the answers by how it begins them, so only another one can differ."""
        may_differ = self._trains_answers and self._renderer.template.origin == "training"
        if not may_differ or all(map(self._renderer.begins_as_at_inference, texts)):
            return
        message = (
            f"At inference, the model's chat template begins an answer with {self._renderer.answer_start!r}, and the "
            "answer of the row does not begin so. Write its reasoning, or use the model without thinking."
        )
        self._findings.add(CheckRule.ANSWER_START_DIFFERS, message, row.number, row.line)

    def _look_at_length(self, row: TokenisedRow, kept: int, num_lost: int) -> None:
        max_length = self._options.max_length
        num_tokens = sum(map(len, row.encodings))
        if dropped := num_tokens - kept:
            self._num_truncated += 1
            self._num_dropped += dropped
            message = (
                f"The row has {num_tokens:,} tokens; {dropped:,} are cut off at max_length {max_length:,}, "
                f"{num_lost:,} of them tokens to train on."
            )
            self._findings.add(CheckRule.TRUNCATED_ROW, message, row.number, row.line)
        if row.num_tokens > HUGE * max_length:
            message = f"The row is {row.num_tokens / max_length:,.0f} times longer than max_length ({max_length:,})."
            self._findings.add(CheckRule.HUGE_ROW, message, row.number, row.line)

    def _look_at_unknown(self, row: TokenisedRow) -> None:
        if self._unknown_id is None:
            return
        if number := sum(encoding.ids.count(self._unknown_id) for encoding in row.encodings):
            message = (
                f"The tokenizer has no token for some characters of the row; {number:,} of its tokens are the unknown "
                "token instead."
            )
            self._findings.add(CheckRule.UNKNOWN_TOKEN, message, row.number, row.line)

    def _look_at_whole(self) -> None:
        if not self._trained_tokens and not self._options.generates_answers:
            self._findings.add(
                CheckRule.NOTHING_TO_LEARN,
                f"None of the {self._file.num_rows:,} rows has a token to train on; {self._num_truncated:,} of them "
                f"are longer than max_length ({self._options.max_length:,}). Raise it, or check which messages are "
                "the assistant's.",
            )
        for rule, message in self._labels.findings(*self._options.label_weights):
            self._findings.add(rule, message)
        if self._ends_turns is False and self._trains_answers and self._file.kind is not Kind.TEXT:
            self._findings.add(
                CheckRule.NO_END_OF_TURN,
                "The trained turns end without a special token, so the model may not learn to stop.",
            )


def _why_untrained(num_learned: int) -> str:
    if num_learned:
        return f"All {num_learned:,} tokens to train on are beyond max_length and are cut off."
    return "The row has no tokens to train on: it has no assistant message with a weight above 0."

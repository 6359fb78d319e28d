"""Evaluation rows: their fingerprints, and the problems that would fail a job."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ftlab.errors import InvalidRequestError
from ftlab.schemas.check_rules import CheckRule
from ftlab.schemas.methods import METHODS
from train.data.doctor.content import text_of
from train.data.doctor.findings import Findings
from train.data.doctor.near_duplicates import Fingerprints
from train.data.rows.canonical import CanonicalFile, Kind
from train.data.rows.errors import DatasetInvalidError
from train.data.tokens.encode import num_learned, tokenise
from train.data.tokens.render import Renderer

OnRows = Callable[[int], None]
"""Called with the number of rows that are done."""


@dataclass(frozen=True)
class EvalRows:
    """An evaluation dataset, which must share no row with the training dataset."""

    dataset_id: str
    path: Path
    """The canonical file with the rows."""
    fingerprints: Fingerprints | None = None
    """Given where a job prepares the rows and fails if they are unusable; then they are not checked again."""

    @classmethod
    def read(cls, dataset_id: str, path: Path, on_rows: OnRows) -> "EvalRows":
        """Fingerprint the rows, once for all datasets that they are compared with, without checking them."""
        fingerprints = Fingerprints()
        with CanonicalFile.open(path) as file:
            for batch in file.batches():
                fingerprints.add(*zip(*(text_of(row) for _, row in batch), strict=True))
                on_rows(fingerprints.num_rows)
        return cls(dataset_id, path, fingerprints)


def check_eval_rows(
    file: CanonicalFile, renderer: Renderer, findings: Findings, *, kind: Kind, max_length: int, on_rows: OnRows
) -> Fingerprints:
    """Read all rows as a job would, add problems that would fail it to `findings`, and return the fingerprints.

    `kind` is that of the training rows. Evaluation rows are never packed, so they are always cut at `max_length`.
    """

    def on_refusal(number: int, line: int, error: InvalidRequestError) -> None:
        is_refused = isinstance(error, DatasetInvalidError)
        rule = CheckRule.EVAL_TEMPLATE_FAILED if is_refused else CheckRule.EVAL_TURNS_NOT_FOUND
        findings.add(rule, f"In the evaluation dataset: {error.message}", number, line)

    if not any({kind, file.kind} <= set(method.row_kinds) for method in METHODS):
        findings.add(
            CheckRule.EVAL_NO_METHOD,
            f"The rows of the evaluation dataset are of kind '{file.kind}' and those of the training dataset of kind "
            f"'{kind}'; no training method takes both.",
        )
    fingerprints = Fingerprints()
    num_trained = num_too_long = 0
    for rows in tokenise(file.rows(), renderer, max_length=None, on_refusal=on_refusal):
        fingerprints.add(*zip(*(text_of(row.row) for row in rows), strict=True))
        num_trained += sum(num_learned(row.turns, max_length) for row in rows)
        num_too_long += sum(row.num_tokens > max_length for row in rows)
        on_rows(fingerprints.num_rows)
    if not num_trained:
        findings.add(
            CheckRule.EVAL_NOTHING_TO_LEARN,
            f"None of the {file.num_rows:,} rows of the evaluation dataset has a token that the loss counts; "
            f"{num_too_long:,} of them are longer than max_length ({max_length:,}). Raise it, or check which messages "
            "are the assistant's.",
        )
    return fingerprints

"""The rows to evaluate on, as far as a job would fail with them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftlab.schemas.check_rules import CheckRule
from ftlab.schemas.methods import LEARNABLE_KINDS
from train.data.doctor.findings import Findings
from train.data.doctor.reading import read_tokens
from train.data.rows.canonical import CanonicalFile, Row
from train.data.tokens.render import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_RULES = {
    CheckRule.TEMPLATE_FAILED: CheckRule.EVAL_TEMPLATE_FAILED,
    CheckRule.TURNS_NOT_FOUND: CheckRule.EVAL_TURNS_NOT_FOUND,
}
"""What a refused row breaks here; row and line are those of the evaluation dataset."""


def read_eval_rows(
    file: CanonicalFile,
    tokenizer: "PreTrainedTokenizerBase",
    renderer: Renderer,
    findings: Findings,
    *,
    max_length: int,
) -> Iterator[list[Row]]:
    """All rows, batch by batch; what a job would fail with is added to `findings` on the way, and at the end.

    Rows to evaluate on are never packed, so they are always cut at `max_length`.
    """
    if file.kind not in LEARNABLE_KINDS:
        findings.add(
            CheckRule.EVAL_NO_METHOD,
            f"The rows of the evaluation dataset are of kind '{file.kind}', which no training method learns from yet.",
        )
    num_trained = num_too_long = 0
    for rows in read_tokens(file, tokenizer, renderer, max_length=max_length):
        for row in rows:
            if row.refusal is not None:
                rule, message = row.refusal
                findings.add(_RULES[rule], f"In the evaluation dataset: {message}", row.number, row.line)
            num_trained += row.num_trained
            num_too_long += row.num_tokens > max_length
        yield [row.row for row in rows]
    if not num_trained:
        findings.add(
            CheckRule.EVAL_NOTHING_TO_LEARN,
            f"None of the {file.num_rows:,} rows of the evaluation dataset has a token that the loss counts; "
            f"{num_too_long:,} of them are longer than max_length ({max_length:,}). Raise it, or check which messages "
            "are the assistant's.",
        )

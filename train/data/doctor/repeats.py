"""Findings about repeated rows, and their number."""

from functools import partial

from ftlab.schemas.check_rules import CheckRule
from ftlab.schemas.checks import Duplicates, Overlap
from train.data.doctor.content import messages_of
from train.data.doctor.eval_rows import EvalRows
from train.data.doctor.findings import Findings
from train.data.doctor.near_duplicates import Fingerprints, Pairs, find_repeats
from train.data.rows.canonical import CanonicalFile, Row

_WORDS = {
    CheckRule.EXACT_DUPLICATE: "The row is the same as {} before it.",
    CheckRule.NEAR_DUPLICATE: "The row is nearly identical to {} before it.",
    CheckRule.EVAL_OVERLAP: "This row of the evaluation dataset is also {} of the training dataset.",
    CheckRule.EVAL_NEAR_OVERLAP: "This row of the evaluation dataset is nearly identical to {} of the "
    "training dataset.",
}


def add_repeats(
    findings: Findings, file: CanonicalFile, fingerprints: Fingerprints, held_out: EvalRows | None
) -> tuple[Duplicates, Overlap | None]:
    """Add rows of a file that repeat earlier ones, and evaluation rows that repeat one of the file.

    `held_out` must have its fingerprints.
    """
    others = (held_out and held_out.fingerprints) or Fingerprints()
    duplicates, shared = find_repeats(fingerprints, others)
    overlap = None
    if held_out is not None:
        with CanonicalFile.open(held_out.path) as eval_file:
            add = partial(_add_pairs, findings, file, eval_file)
            overlap = Overlap(
                eval_dataset_id=held_out.dataset_id,
                num_eval_rows=others.num_rows,
                # Only hashes that both keep are found.
                num_exact=add(CheckRule.EVAL_OVERLAP, shared.equal, max(fingerprints.scale, others.scale)),
                num_near=add(CheckRule.EVAL_NEAR_OVERLAP, shared.near),
                is_exact_estimated=fingerprints.is_sampled or others.is_sampled,
            )
    add = partial(_add_pairs, findings, file, file)
    return (
        Duplicates(
            num_exact=add(CheckRule.EXACT_DUPLICATE, duplicates.equal, fingerprints.scale),
            num_near=add(CheckRule.NEAR_DUPLICATE, duplicates.near),
            is_exact_estimated=fingerprints.is_sampled,
            num_rows_compared=fingerprints.num_near_rows,
        ),
        overlap,
    )


def _add_pairs(
    findings: Findings, file: CanonicalFile, of_file: CanonicalFile, rule: CheckRule, pairs: Pairs, scale: float = 1.0
) -> int:
    """Add findings for the first rows of `of_file` that repeat one of `file`, and count all of them.

    Return their number, scaled up if the hashes are a sample.
    """
    shown = min(len(pairs.rows), findings.max_findings)
    for place, original_place in zip(pairs.rows[:shown].tolist(), pairs.originals[:shown].tolist(), strict=True):
        line, row = of_file.row(place)
        original_line, original = file.row(original_place)
        message = _WORDS[rule].format(f"row {original_place + 1} (line {original_line})")
        if rule is CheckRule.EXACT_DUPLICATE and (other := _difference(row, original)):
            message = f"{message.removesuffix('.')}, except for {other}."
        findings.add(rule, message, place + 1, line)
    total = min(round(len(pairs.rows) * scale), of_file.num_rows)
    findings.count(rule, total - shown)
    return total


def _difference(row: Row, original: Row) -> str | None:
    """What two rows with the same roles and words differ in; `None` where they train the same."""
    for name in ("label", "tools"):
        if row.get(name) != original.get(name):
            return f"the {name}"
    is_same = messages_of(row) == messages_of(original)
    return None if is_same else "the reasoning, the weights or the names in its messages"

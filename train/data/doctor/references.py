"""Check the reference answers that rewards compare with."""

import re
from collections.abc import Iterator, Sequence

from ftlab.schemas.check_rules import CheckRule
from train.data.doctor.content import Remark
from train.data.rows.canonical import Row
from train.data.tokens.prompts import has_prompt, reference_of
from train.rewards.scores import last_number, numbers_in

NUMERIC = "numeric_answer"
SHORT_CHARS = 40
"""Maximum length of a reference answer that is taken for the result alone."""

_BEFORE_RESULT = re.compile(r".*(?:####|\\boxed|\\fbox)", re.DOTALL)
"""The work that comes before the result in GSM8K, MATH, and data like theirs."""


def reference_remarks(row: Row, rewards: Sequence[str]) -> Iterator[Remark]:
    """What keeps a row from being scored; `rewards` are the types of those that compare with the reference answer.

    Rows without a prompt are skipped by the method, so they need no answer.
    """
    if not rewards or not has_prompt(row):
        return
    reference = reference_of(row)
    if reference is None:
        named = " and ".join(rewards)
        verb = "compares" if len(rewards) == 1 else "compare"
        yield CheckRule.NO_REFERENCE, f"The last answer is blank, and {named} {verb} with it."
    elif NUMERIC in rewards and last_number(reference) is None:
        yield (
            CheckRule.NO_NUMBER,
            f"The last answer has no number, so {NUMERIC} gives 0 to every answer to this prompt.",
        )
    elif NUMERIC in rewards and len(numbers_in(_result_of(reference))) > 1:
        yield (
            CheckRule.SEVERAL_NUMBERS,
            f"The result of the last answer has several numbers, of which {NUMERIC} compares the last one only.",
        )


def _result_of(reference: str) -> str:
    """What comes behind the work; empty where a long answer does not say where its result begins."""
    marked = _BEFORE_RESULT.match(reference)
    if marked is not None:
        return reference[marked.end() :]
    return reference if len(reference.strip()) <= SHORT_CHARS else ""

from decimal import Decimal
from typing import Any

import pytest

from train.data.rows.errors import RowError, Rule
from train.data.shapes.shapes import Shape, normalise


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


SYSTEM, USER, MORE = said("system", "Be kind."), said("user", "Where?"), said("user", "And now?")
GOOD, BAD = said("assistant", "Here."), said("assistant", "Go away.")
TOOLS = [{"type": "function", "function": {"name": "look"}}]
PAIR = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}
AS_TEXTS = {"is_joined": True}


@pytest.mark.parametrize(
    ("row", "normal"),
    [
        ({"prompt": "Where?", "chosen": "Here.", "rejected": "Go away."}, PAIR | AS_TEXTS),
        ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, PAIR),
        ({"prompt": "Where?", "chosen": [GOOD], "rejected": [BAD]}, PAIR),
        ({"prompt": "Where?", "chosen": GOOD, "rejected": BAD}, PAIR),
        (
            {"system": "Be kind.", "prompt": "Where?", "chosen": "Here.", "rejected": "Go away."},
            PAIR | {"prompt": [SYSTEM, USER]} | AS_TEXTS,
        ),
        ({"system": "Be kind.", "prompt": [SYSTEM, USER], "chosen": [GOOD], "rejected": [BAD]},
         PAIR | {"prompt": [SYSTEM, USER]}),
        ({"prompt": [SYSTEM, USER, GOOD, MORE], "chosen": "Here.", "rejected": "Go away."},
         PAIR | {"prompt": [SYSTEM, USER, GOOD, MORE]}),
        ({"chosen": [USER, GOOD], "rejected": [USER, BAD], "score": 3}, PAIR),
        ({"prompt": "Where?", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, PAIR),
        ({"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]}, PAIR),
        (
            {"chosen": [SYSTEM, USER, GOOD, MORE, GOOD], "rejected": [SYSTEM, USER, GOOD, MORE, BAD]},
            PAIR | {"prompt": [SYSTEM, USER, GOOD, MORE]},
        ),
        # Turns that both share behind the prompt are context too.
        (
            {"prompt": [USER], "chosen": [USER, GOOD, MORE, GOOD], "rejected": [USER, GOOD, MORE, BAD]},
            PAIR | {"prompt": [USER, GOOD, MORE]},
        ),
        # What both say alike before they part is still an answer.
        (
            {"chosen": [USER, GOOD, MORE, GOOD], "rejected": [USER, GOOD, USER, BAD]},
            {"prompt": [USER], "chosen": [GOOD, MORE, GOOD], "rejected": [GOOD, USER, BAD]},
        ),
        ({"prompt": "Where?", "chosen": "Here.", "rejected": "Go away.", "tools": TOOLS},
         PAIR | {"tools": TOOLS} | AS_TEXTS),
    ],
)  # fmt: skip
def test_preference_rows(row: dict[str, Any], normal: dict[str, Any]):
    assert normalise(row, Shape.PREFERENCE) == normal


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"prompt": "x", "chosen": "y"}, Rule.MISSING_FIELD),
        ({"system": "x", "prompt": [SYSTEM, USER], "chosen": [GOOD], "rejected": [BAD]}, Rule.CONFLICTING_FIELDS),
        ({"chosen": "x", "rejected": "y"}, Rule.MISSING_FIELD),
        ({"chosen": [GOOD], "rejected": [BAD]}, Rule.MISSING_FIELD),
        ({"prompt": "x", "chosen": [GOOD], "rejected": "y"}, Rule.WRONG_TYPE),
        ({"prompt": 1, "chosen": "x", "rejected": "y"}, Rule.WRONG_TYPE),
        ({"prompt": " ", "chosen": "x", "rejected": "y"}, Rule.EMPTY_CONTENT),
        ({"prompt": "x", "chosen": "", "rejected": "y"}, Rule.EMPTY_CONTENT),
        ({"prompt": "x", "chosen": "y", "rejected": "y"}, Rule.EQUAL_PAIR),
        ({"chosen": [USER, GOOD], "rejected": [USER, GOOD]}, Rule.EQUAL_PAIR),
        ({"prompt": [USER, GOOD], "chosen": "x", "rejected": "y"}, Rule.PROMPT_LAST_MESSAGE),
        ({"prompt": [SYSTEM], "chosen": [GOOD], "rejected": [BAD]}, Rule.PROMPT_LAST_MESSAGE),
        ({"chosen": [USER, GOOD], "rejected": [MORE, BAD]}, Rule.PROMPT_MISMATCH),
        ({"prompt": "Why?", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, Rule.PROMPT_MISMATCH),
        ({"prompt": [MORE], "chosen": [USER, GOOD], "rejected": [USER, BAD]}, Rule.PROMPT_MISMATCH),
        ({"prompt": [USER, GOOD, MORE], "chosen": [USER, GOOD], "rejected": [USER, BAD]}, Rule.PROMPT_MISMATCH),
        (
            {"prompt": [MORE], "chosen": [USER, GOOD, MORE, GOOD], "rejected": [USER, GOOD, MORE, BAD]},
            Rule.PROMPT_MISMATCH,
        ),
        ({"chosen": [USER, MORE], "rejected": [USER, BAD]}, Rule.COMPLETION_FIRST_MESSAGE),
        ({"chosen": [USER], "rejected": [USER]}, Rule.PROMPT_MISMATCH),
        ({"chosen": [], "rejected": [USER]}, Rule.NO_MESSAGES),
    ],
)
def test_broken_preference_rows(row: dict[str, Any], rule: Rule):
    assert broken(row, Shape.PREFERENCE) is rule


def dpo(**changes: Any) -> dict[str, Any]:
    row = {"input": {"messages": [USER]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]}
    return row | changes


def test_openai_dpo_rows():
    assert normalise(dpo(), Shape.OPENAI_DPO) == PAIR
    row = dpo(input={"messages": [SYSTEM, USER], "tools": TOOLS, "parallel_tool_calls": True})
    assert normalise(row, Shape.OPENAI_DPO) == PAIR | {"prompt": [SYSTEM, USER], "tools": TOOLS}


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (dpo(input="Where?"), Rule.WRONG_TYPE),
        (dpo(input={}), Rule.WRONG_TYPE),
        (dpo(input={"messages": []}), Rule.NO_MESSAGES),
        (dpo(input={"messages": [USER, GOOD]}), Rule.PROMPT_LAST_MESSAGE),
        (dpo(preferred_output="Here."), Rule.WRONG_TYPE),
        (dpo(preferred_output=[USER]), Rule.COMPLETION_FIRST_MESSAGE),
        (dpo(non_preferred_output=[GOOD]), Rule.EQUAL_PAIR),
        ({"input": {"messages": [USER]}, "preferred_output": [GOOD]}, Rule.MISSING_FIELD),
    ],
)
def test_broken_openai_dpo_rows(row: dict[str, Any], rule: Rule):
    assert broken(row, Shape.OPENAI_DPO) is rule


@pytest.mark.parametrize(
    ("written", "label"),
    [
        *[(True, True), (False, False), (1, True), (0.0, False), ("true", True), (" False", False), ("1", True)],
        *[("1.0", True), ("0.0", False), (Decimal(1), True), (Decimal("0.0"), False)],
    ],
)
def test_unpaired_rows(written: Any, label: bool):
    row = {"prompt": "Where?", "completion": "Here.", "label": written}
    assert normalise(row, Shape.UNPAIRED) == {"prompt": [USER], "completion": [GOOD], "label": label} | AS_TEXTS
    as_messages = {"prompt": [USER], "completion": [GOOD], "label": written, "tools": TOOLS}
    assert normalise(as_messages, Shape.UNPAIRED) == as_messages | {"label": label}
    assert normalise(row | {"system": "Be kind."}, Shape.UNPAIRED)["prompt"] == [SYSTEM, USER]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"prompt": "x", "completion": "y", "label": None}, Rule.WRONG_LABEL),
        ({"prompt": "x", "completion": "y", "label": 2}, Rule.WRONG_LABEL),
        ({"prompt": "x", "completion": "y", "label": float("nan")}, Rule.WRONG_LABEL),
        ({"prompt": "x", "completion": "y", "label": "good"}, Rule.WRONG_LABEL),
        ({"prompt": "x", "completion": None, "label": True}, Rule.EMPTY_CONTENT),
        ({"prompt": "x", "completion": [USER], "label": True}, Rule.COMPLETION_FIRST_MESSAGE),
        ({"prompt": [GOOD], "completion": "y", "label": True}, Rule.PROMPT_LAST_MESSAGE),
        ({"prompt": "x", "label": True}, Rule.MISSING_FIELD),
    ],
)
def test_broken_unpaired_rows(row: dict[str, Any], rule: Rule):
    assert broken(row, Shape.UNPAIRED) is rule


def broken(row: dict[str, Any], shape: Shape) -> Rule:
    with pytest.raises(RowError) as caught:
        normalise(row, shape)
    assert caught.value.message.endswith(".")
    return caught.value.rule

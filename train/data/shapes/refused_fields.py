"""Fields beside those of the detected shape that say how to train a row, refused instead of ignored."""

import math
from decimal import Decimal

from train.data.rows.canonical import Kind, Row
from train.data.rows.errors import RowError, Rule
from train.data.shapes.message_fields import LOSS_FLAGS
from train.data.shapes.pairs import verdict
from train.data.shapes.shapes import FORMS, Shape

_REJECTED = ("rejected", "rejected_response", "non_preferred_output")
"""Fields with the worse answer."""
_LABELS = ("label", "kto_tag")
_VERDICTS = frozenset(
    {
        "true",
        "false",
        "good",
        "bad",
        "chosen",
        "rejected",
        "accepted",
        "desirable",
        "undesirable",
        "correct",
        "incorrect",
    }
)
"""Labels that say whether an answer is to be learned."""
_NOTHING: tuple[object, ...] = (None, "", "[]", [], {})


def refuse_unread(row: object, shape: Shape) -> None:
    """Refuse a row with a verdict, earlier turns or a weight that the detected shape does not read."""
    if isinstance(row, dict):
        _refuse_verdict(row, shape)
        _refuse_history(row, shape)
        _refuse_weight(row, shape)


def _refuse_verdict(row: Row, shape: Shape) -> None:
    """Refuse a row that says which answer is good or bad, where the shape trains the answer regardless.

    Of labels, only true, false, and words such as `good` and `bad` count: other words and numbers may be classes.
    """
    if FORMS[shape].kind is not Kind.MESSAGES:
        return
    judged = [name for name in _REJECTED if row.get(name) not in (None, "", [])]
    judged += [name for name in _LABELS if str(row.get(name)).strip().lower() in _VERDICTS]
    if judged:
        raise RowError(
            Rule.UNSUPPORTED_FIELD,
            f"The row has '{judged[0]}', which the shape '{shape}' does not use; choose the shape to train without it "
            f"(--shape {shape}), or write the rows in a shape for preferences.",
        )


def _refuse_history(row: Row, shape: Shape) -> None:
    form = FORMS[shape]
    history = row.get("history")
    if form.kind is Kind.TEXT or "history" in form.fields or history in _NOTHING:
        return
    if isinstance(history, str | list | dict):
        raise RowError(
            Rule.UNSUPPORTED_FIELD,
            f"The row has 'history', which the shape '{shape}' does not read; write the earlier turns as messages, or "
            f"choose the shape to train without them (--shape {shape}).",
        )


def _refuse_weight(row: Row, shape: Shape) -> None:
    for name in LOSS_FLAGS:
        value = row.get(name)
        if verdict(value) is False or (name == "weight" and _is_other_weight(value)):
            raise RowError(
                Rule.UNSUPPORTED_FIELD,
                f"The row has '{name}' other than 1 or true, which is read in messages only; leave the row out, or "
                f"choose the shape to train on it like on any other row (--shape {shape}).",
            )


def _is_other_weight(value: object) -> bool:
    """Whether a value is a number other than 1; a table has numbers as text, and NaN for nothing."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return False
    return isinstance(value, int | float | Decimal) and value != 1 and not math.isnan(value)

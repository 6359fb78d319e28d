"""Which columns of a file may be meant by a shape's fields, where no shape is plain to see."""

from collections.abc import Collection

from train.data.rows.rules import RowError
from train.data.shapes.messages import from_json_text
from train.data.shapes.shapes import FORMS, Row, Shape

ANY_COLUMN = "COLUMN"
"""Stands for a column that the user knows."""

_ASKED = ("prompt", "instruction", "question", "query", "input", "user", "problem")
_ANSWERED = ("completion", "output", "solution", "answer", "response", "assistant", "target")
_CONTEXT = ("input", "context", "passage")
_SYSTEM = ("system", "system_prompt")
_CHATS = ("conversation", "dialog", "dialogue", "chat", "turns", "history")
_WORDS = frozenset((*_ASKED, *_ANSWERED, *_CONTEXT, *_SYSTEM)).union(*(form.fields for form in FORMS.values()))


def known_columns(row: Row) -> set[str]:
    """The row's columns as far as they are common words: other names are not repeated in a message."""
    return {name for name in row if name in _WORDS or (name in _CHATS and _holds_messages(row[name]))}


def likely_columns(known: Collection[str], allowed: Collection[Shape]) -> dict[str, str]:
    """Fields and the columns that may stand for them, of those that are known; `ANY_COLUMN` where none is.

    Fields that have their own names are left out. A mapping by this example loses none of the row's words.
    """
    chat = _first(_CHATS, known)
    if chat and Shape.MESSAGES in allowed:
        return {"messages": chat}
    asked, answered = _first(_ASKED, known), _first(_ANSWERED, known)
    context = _first([name for name in _CONTEXT if name != asked], known)
    columns: dict[str, str | None]
    if context and (asked or answered) and Shape.ALPACA in allowed:
        columns = {"instruction": asked, "input": context, "output": answered}
    elif Shape.PROMPT_COMPLETION in allowed:
        columns = {"prompt": asked, "completion": answered}
    else:
        shape = next(shape for shape in Shape if shape in allowed)
        columns = {field: field if field in known else None for field in FORMS[shape].required}
    if (system := _first(_SYSTEM, known)) and any("system" in FORMS[shape].optional for shape in allowed):
        columns["system"] = system
    found = {field: column or ANY_COLUMN for field, column in columns.items() if field != column}
    # No row may have all the fields that several rows have.
    return found or dict.fromkeys(columns, ANY_COLUMN)


def _first(names: Collection[str], known: Collection[str]) -> str | None:
    return next((name for name in names if name in known), None)


def _holds_messages(value: object) -> bool:
    try:
        messages = from_json_text(value, "")
    except RowError:
        return False
    first = messages[0] if isinstance(messages, list) and messages else None
    return isinstance(first, dict) and any(keys <= first.keys() for keys in ({"role", "content"}, {"from", "value"}))

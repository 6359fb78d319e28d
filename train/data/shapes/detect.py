"""Detect which shape the rows of a file have, and with what confidence."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from train.data.formats.json_array import wrapped, wrapper_key
from train.data.rows.errors import DatasetInvalidError, RowError, Rule
from train.data.shapes.json_cells import from_json_text
from train.data.shapes.shapes import FORMS, Row, Shape, fit

SAMPLE_ROWS = 50
"""Rows that are examined."""
MAX_UNKNOWN_ROWS = 1000
"""Rows without any known shape after which detection stops."""
MIN_SHARE = 0.75
"""Minimum score of a shape, relative to a simpler one that the rows fit as well: some rows may be bad, but a `label`
column without a single verdict is not a label."""
WEAK_RIVAL_COST = 0.1
"""Confidence that is lost when the same rows also have the fields of a simpler shape."""

ANY_COLUMN = "COLUMN"
"""Placeholder for a column that the user has to name."""

_ASKED = ("prompt", "instruction", "question", "query", "input", "user", "problem")
_ANSWERED = ("completion", "output", "solution", "answer", "response", "assistant", "target")
_CONTEXT = ("input", "context", "passage")
_SYSTEM = ("system", "system_prompt")
_CHATS = ("conversation", "dialog", "dialogue", "chat", "turns", "history")
_WHOLE_ROWS = frozenset(shape for shape, form in FORMS.items() if form.is_whole_row)
_WORDS = frozenset((*_ASKED, *_ANSWERED, *_CONTEXT, *_SYSTEM)).union(*(form.fields for form in FORMS.values()))


@dataclass(frozen=True)
class Detection:
    """`shape` is `None` when no row has one, `alternative` the second best. `confidence` is from 0 to 1."""

    shape: Shape | None
    confidence: float
    alternative: Shape | None = None


class Detector:
    """Takes rows one at a time until `is_sure`, then decides their shape.

    The confidence is the mean over the rows of how well they fit the shape: 1 for the right fields and types,
    0.5 for the right fields only, 0 for others. A rival shape that asks for less of the same rows (`text` beside
    `messages`; prompt and completion beside a `label`) takes `WEAK_RIVAL_COST` of it.
    """

    def __init__(self, allowed: frozenset[Shape] = frozenset(Shape)) -> None:
        self._allowed = [shape for shape in Shape if shape in allowed]
        self._scores: defaultdict[Shape, float] = defaultdict(float)
        self._rivals: Counter[frozenset[Shape]] = Counter()
        self._num_rows = 0
        self._known: set[str] = set()
        self._wrapper: str | None = None

    @property
    def is_sure(self) -> bool:
        return self._num_rows >= (SAMPLE_ROWS if self._scores else MAX_UNKNOWN_ROWS)

    def add(self, row: Any) -> None:
        """Score a row; anything but an object is ignored."""
        if not isinstance(row, dict):
            return
        self._num_rows += 1
        if not self._scores.keys() - _WHOLE_ROWS:
            self._known |= known_columns(row)
            self._wrapper = self._wrapper or wrapper_key(row)
        scores = {shape: score for shape in self._allowed if (score := fit(row, shape))}
        top = max(scores.values(), default=0.0)
        rivals = frozenset(shape for shape in scores if scores[shape] == top and not _is_weak(shape, scores))
        self._rivals[rivals] += len(rivals) > 1
        for shape, score in scores.items():
            self._scores[shape] += score

    def result(self) -> Detection:
        """The shape; raise `DatasetInvalidError` when the rows fit none, or several equally well."""
        if not self._num_rows:
            return Detection(None, 0.0)
        for shape in _WHOLE_ROWS:
            if self._scores[shape] < self._num_rows:
                # Some rows have more than that, which may be the answers.
                del self._scores[shape]
        if not self._scores:
            raise DatasetInvalidError(self._unknown())
        self._refuse_rivals()
        ranked = sorted(self._scores, key=lambda shape: (_is_weak(shape, self._scores), -self._scores[shape]))
        best, rival = ranked[0], (ranked[1] if len(ranked) > 1 else None)
        confidence = self._scores[best] / self._num_rows
        if rival is not None and _is_weak(rival, self._scores):
            confidence -= WEAK_RIVAL_COST * self._scores[rival] / self._num_rows
        return Detection(best, round(confidence, 3), rival)

    def _refuse_rivals(self) -> None:
        for shapes, count in self._rivals.items():
            if count * 2 >= self._num_rows:
                names = sorted(shapes)
                known = " or as ".join(f"'{name}'" for name in names)
                raise DatasetInvalidError(
                    f"The rows can be read as {known}. Choose one with shape={names[0]} (--shape {names[0]}). "
                    f"[{Rule.AMBIGUOUS_SHAPE}]"
                )

    def _unknown(self) -> str:
        if self._wrapper and self._num_rows == 1:
            error = wrapped(self._wrapper)
            return f"{error.message} [{error.rule}]"
        listed = [shape for shape in self._allowed if not FORMS[shape].is_whole_row]
        shapes = "; ".join(" and ".join(f"'{key}'" for key in FORMS[shape].required) for shape in listed)
        columns = likely_columns(self._known, self._allowed)
        options = " ".join(f"--column {field}={column}" for field, column in columns.items())
        return (
            f"The fields of the rows match no known shape ({shapes}). Map the columns, for example "
            f"columns={json.dumps(columns)} ({options}).{self._hint()} [{Rule.UNKNOWN_SHAPE}]"
        )

    def _hint(self) -> str:
        """How to use prompts that have other fields beside them, none of which is known to be an answer."""
        if Shape.PROMPT not in self._allowed or "prompt" not in self._known:
            return ""
        return " To use the prompts without answers, with method 'grpo', choose shape=prompt (--shape prompt)."


def _is_weak(shape: Shape, scores: Mapping[Shape, float]) -> bool:
    """Whether another shape that fits the rows requires more of their fields."""
    if shape is Shape.TEXT:
        return any(other is not Shape.TEXT for other in scores)
    required = set(FORMS[shape].required)
    enough = MIN_SHARE * scores[shape]
    return any(required < set(FORMS[other].required) and scores[other] >= enough for other in scores)


def known_columns(row: Row) -> set[str]:
    """The row's columns with common names; messages do not repeat any other names."""
    return {name for name in row if (_holds_messages(row[name]) if name in _CHATS else name in _WORDS)}


def likely_columns(known: Collection[str], allowed: Collection[Shape]) -> dict[str, str]:
    """Fields and the columns that may stand for them, of those that are known; `ANY_COLUMN` where none is.

    Fields whose column has the same name are left out. A mapping by this example loses none of the row's text.
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

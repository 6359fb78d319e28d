"""Wherever a key stands in a row: it changes what is trained, it is refused by name, or it is counted as not used."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from train.data.convert import normal_form
from train.data.rows.errors import RowError
from train.data.shapes.ledger import FieldLedger
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Row, Shape

CALL = {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "f"}}
PARTS = [{"type": "text", "text": "x"}]
USER, ANSWER = {"role": "user", "content": "x"}, {"role": "assistant", "content": PARTS}
CHAT = [{"role": "system", "content": PARTS}, USER, {"role": "assistant", "tool_calls": [CALL]}]
CHAT += [{"role": "tool", "content": "1"}, ANSWER]
TURNS = [("system", "x"), ("human", PARTS), ("function_call", '{"name": "f", "arguments": {}}'), ("observation", "1")]
ROWS: list[tuple[Shape, Row]] = [
    (Shape.MESSAGES, {"messages": CHAT, "tools": [TOOL]}),
    (Shape.SHAREGPT, {"conversations": [{"from": role, "value": said} for role, said in (*TURNS, ("gpt", "y"))]}),
    (Shape.ALPACA, {"instruction": "x", "output": "y"}),
    (Shape.PROMPT_COMPLETION, {"prompt": "x", "completion": "y"}),
    (Shape.PROMPT_COMPLETION, {"prompt": [USER, ANSWER, USER], "completion": [ANSWER]}),
    (Shape.TEXT, {"text": "x"}),
    (Shape.PREFERENCE, {"prompt": "x", "chosen": "y", "rejected": "z"}),
    (Shape.PREFERENCE, {"chosen": [USER, ANSWER], "rejected": [USER, {"role": "assistant", "content": "z"}]}),
    (Shape.OPENAI_DPO, {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [
        {"role": "assistant", "content": "z"}]}),
    (Shape.UNPAIRED, {"prompt": [USER], "completion": [ANSWER], "label": True}),
]  # fmt: skip
NAMES = (
    *("weight", "train", "training", "loss", "train_detail", "thinking", "reasoning", "reasoning_content"),
    *("tool_calls", "function_call", "tools", "functions", "name", "tool_call_id", "images", "system", "history"),
    *("cache_control", "annotations", "input", "label", "rejected", "id", "Prompt", " text", "from", "value"),
)
VALUES: tuple[Any, ...] = (
    *(0, 1, 0.5, True, False, "z", {"a": 1}, ["z"], [["a", "b"]], [USER], [CALL], [TOOL]),
    *({"name": "f", "arguments": "{}"}, [{"name": "f"}]),
)
MISSING = object()
Place = tuple[str | int, ...]


def objects_in(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where the objects of a row are."""
    if isinstance(value, dict):
        yield place
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects_in(item, (*place, key))


def path_of(place: Place, name: str) -> str:
    path = "".join("[]" if isinstance(step, int) else f".{step}" for step in place)
    return f"{path}.{name}".removeprefix(".")


def with_value(row: Row, place: Place, name: str, value: Any) -> Row:
    copy = inner = json.loads(json.dumps(row))
    for step in place:
        inner = inner[step]
    if value is not MISSING:
        inner[name] = value
    return copy


def read(shape: Shape, is_named: bool, *rows: Row) -> tuple[list[Row] | str, dict[tuple[str, bool], int]]:
    """The normal rows, or why one is refused; and the number of rows by field and by whether it is used."""
    mapping = ColumnMapping(shape if is_named else None)
    ledger = FieldLedger(shape, mapping)
    reader = mapping.reader(on_field=ledger.on_field_below)
    found = []
    for row in rows:
        try:
            found.append(normal_form(row, shape, mapping, reader))
        except RowError as error:
            return error.message, {}
        ledger.add(row.items())
    return found, {(count.name, count.used_as is not None): count.num_rows for count in ledger.result()}


@st.composite
def odd_keys(draw: st.DrawFn) -> tuple[Shape, Row, Place, str, Any]:
    shape, row = draw(st.sampled_from(ROWS))
    place = draw(st.sampled_from(list(objects_in(row))))
    taken = with_value(row, place, "", MISSING)
    for step in place:
        taken = taken[step]
    name = draw(st.sampled_from([name for name in NAMES if name not in taken]))
    return shape, row, place, name, draw(st.sampled_from(VALUES))


@given(case=odd_keys(), is_named=st.booleans(), num_with=st.integers(1, 3))
@example(case=(*ROWS[4], ("prompt", 1), "weight", 0), is_named=False, num_with=1)
@example(case=(*ROWS[0], ("messages", 4, "content", 0), "cache_control", {"a": 1}), is_named=False, num_with=2)
@settings(deadline=None, max_examples=250)
def test_every_key_is_used_or_refused_or_counted(
    case: tuple[Shape, Row, Place, str, Any], is_named: bool, num_with: int
):
    shape, row, place, name, value = case
    odd = with_value(row, place, name, value)
    rows, counts = read(shape, is_named, *[odd] * num_with, row)
    if isinstance(rows, str):
        assert name in rows
        return
    plain, of_plain = read(shape, is_named, row)
    path = path_of(place, name)
    if (path, False) in counts:
        assert counts[path, False] == num_with
        assert rows[0] == plain[0]
        return
    # Another message of the plain row may have the field as well.
    assert counts.get((path, True), num_with) == num_with + ((path, True) in of_plain)
    others = (read(shape, is_named, with_value(row, place, name, other))[0] for other in (MISSING, *VALUES))
    assert any(other != rows[:1] for other in others)

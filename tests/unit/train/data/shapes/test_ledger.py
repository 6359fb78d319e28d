"""No field of a row is dropped silently: it is used, refused, or counted as not used."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.support.rows import read_rows
from train.data.convert import Conversion, convert
from train.data.rows.errors import DatasetInvalidError
from train.data.shapes.ledger import MAX_FIELDS, MAX_NAME_CHARS, NO_NAME, OTHER_FIELDS
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import FORMS, Shape

USER, ANSWER = {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}
ROWS: dict[Shape, dict[str, Any]] = {
    Shape.MESSAGES: {"messages": [USER, ANSWER]},
    Shape.SHAREGPT: {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]},
    Shape.ALPACA: {"instruction": "x", "output": "y"},
    Shape.PROMPT_COMPLETION: {"prompt": "x", "completion": "y"},
    Shape.TEXT: {"text": "x"},
    Shape.PREFERENCE: {"prompt": "x", "chosen": "y", "rejected": "z"},
    Shape.OPENAI_DPO: {
        "input": {"messages": [USER]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [ANSWER | {"content": "z"}],
    },
    Shape.UNPAIRED: {"prompt": "x", "completion": "y", "label": True},
    Shape.PROMPT: {"prompt": "x"},
}
EXTRA: dict[str, list[Any]] = {
    "system": ["Be brief."],
    "history": [[["a", "b"]], "[]"],
    "tools": [[{"type": "function", "function": {"name": "f"}}]],
    "functions": [[{"name": "f"}]],
    "images": [["a.png"]],
    "input": ["z"],
    "label": [True, 1, "spam"],
    "rejected": ["No."],
    "id": [7],
    "quality": [None, "", 0.5],
}
BECOMES = {
    *("messages", "system message", "user message", "assistant message", "text", "tools", "tool_calls"),
    *("prompt", "completion", "label", "chosen", "rejected", "reasoning_content", "weight", "name", "tool_call_id"),
}
REFUSED = {"images", "functions", "label", "rejected"}
"""Of these, the ones that may be refused, on their own or beside another."""
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def converted(folder: Path, content: bytes, filename: str, shape: Shape | None = None, **columns: str) -> Conversion:
    source, target = folder / "source", folder / "rows.arrow"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    return convert(source, target, filename, mapping=ColumnMapping(shape, columns))


def fields_of(folder: Path, *rows: dict[str, Any], **columns: str) -> list[tuple[str, str | None, int]]:
    content = "\n".join(map(json.dumps, rows)).encode()
    found = converted(folder, content, "a.jsonl", **columns).fields
    return [(count.name, count.used_as, count.num_rows) for count in found]


def test_each_field_is_counted_in_the_rows_where_it_stands(tmp_path: Path):
    row = ROWS[Shape.ALPACA]
    rows = [row | {"id": 1, "input": None}, row | {"id": 2, "input": "z", "note": ""}, row | {"history": [["a", "b"]]}]
    assert fields_of(tmp_path, *rows) == [
        ("instruction", "user message", 3),
        ("output", "assistant message", 3),
        ("input", "user message", 1),
        ("history", "messages", 1),
        ("id", None, 2),
    ]


def test_fields_of_messages_are_counted_by_row_and_by_use(tmp_path: Path):
    call = {"name": "f", "arguments": "{}"}
    turns = [
        USER | {"name": "ann", "weight": 0},
        {"role": "assistant", "function_call": call, "weight": 1},
        {"role": "function", "name": "f", "content": "1"},
        ANSWER | {"weight": 0, "refusal": None, "thinking": "Hm."},
    ]
    assert sorted(fields_of(tmp_path, {"messages": turns}, ROWS[Shape.MESSAGES]), key=str) == sorted(
        [
            ("messages", "messages", 2),
            ("messages[].function_call", "tool_calls", 1),
            ("messages[].weight", "weight", 1),
            ("messages[].name", "name", 1),
            ("messages[].thinking", "reasoning_content", 1),
            ("messages[].name", None, 1),
            ("messages[].weight", None, 1),
        ],
        key=str,
    )


def test_a_mapped_column_is_used_as_its_field_and_hides_the_column_of_that_name(tmp_path: Path):
    row = {"question": "x", "prompt": "unused", "completion": "y"}
    assert fields_of(tmp_path, row, prompt="question") == [
        ("question", "prompt", 1),
        ("completion", "completion", 1),
        ("prompt", None, 1),
    ]


def test_the_input_of_a_pair_may_hold_more_than_is_read(tmp_path: Path):
    row = ROWS[Shape.OPENAI_DPO]
    row = row | {"input": row["input"] | {"parallel_tool_calls": True}}
    assert ("input.parallel_tool_calls", None, 1) in fields_of(tmp_path, row)


def test_fields_of_turns_and_of_text_parts_have_their_names_in_the_file(tmp_path: Path):
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}, "annotations": None}
    turns = [{"from": "human", "value": [part, part], "at": 1}, {"from": "gpt", "value": "y", "thinking": "Hm."}]
    fields = [
        ("[].thinking", "reasoning_content", 1),
        ("[].at", None, 1),
        ("[].value[].cache_control", None, 1),
    ]
    for name, columns in (("conversations", {}), ("dialog", {"conversations": "dialog"})):
        found = fields_of(
            tmp_path, {name: turns}, ROWS[Shape.SHAREGPT] if not columns else {name: turns[1:]}, **columns
        )
        wanted = [(name + path, used, count + bool(columns and "thinking" in path)) for path, used, count in fields]
        assert found == [(name, "messages", 2), *wanted]


def test_names_that_look_alike_count_a_row_once(tmp_path: Path):
    row = ROWS[Shape.TEXT] | {"n" * MAX_NAME_CHARS + end: 1 for end in ("a", "b")} | {"": 2, " ": 3}
    assert fields_of(tmp_path, row, row) == [("text", "text", 2), ("n" * MAX_NAME_CHARS, None, 2), (NO_NAME, None, 2)]


@pytest.mark.parametrize("shape", list(Shape))
def test_each_field_of_a_shape_says_what_it_becomes(tmp_path: Path, shape: Shape):
    content = json.dumps(ROWS[shape] | {"extra": 1}).encode()
    becomes = {count.used_as for count in converted(tmp_path, content, "a.jsonl", shape).fields} - {None}
    assert becomes <= BECOMES


def test_columns_of_tables_are_counted_by_name(tmp_path: Path):
    sheet = "\ufeff,prompt , Completion,completion\n0,x,z,y\n1,x,,y\n".encode()
    assert {(count.name, count.used_as, count.num_rows) for count in converted(tmp_path, sheet, "a.csv").fields} == {
        ("(column 1)", None, 2),
        ("prompt", "prompt", 2),
        ("Completion", None, 1),
        ("completion", "completion", 2),
    }
    columns = io.BytesIO()
    rows = [{"text": "x", "meta": {"a": 1, "b": {"c": None}}, " text": "y"}, {"text": "x", "meta": None, " text": None}]
    parquet.write_table(pa.Table.from_pylist(rows), columns)
    found = converted(tmp_path, columns.getvalue(), "a.parquet").fields
    assert {(count.name, count.used_as, count.num_rows) for count in found} == {
        ("text", "text", 2),
        ("meta", None, 1),
        (" text", None, 1),
    }


def test_any_number_of_names_takes_bounded_memory(tmp_path: Path):
    rows = [ROWS[Shape.TEXT] | {f"key {number}\u0000": 1} for number in range(MAX_FIELDS + 20)]
    found = fields_of(tmp_path, *rows)
    assert len(found) == MAX_FIELDS + 1
    assert found[0] == ("text", "text", len(rows))
    assert found[1] == ("key 0?", None, 1)
    assert found[-1] == (OTHER_FIELDS, None, 21)


def test_a_row_that_is_left_out_is_not_counted(tmp_path: Path):
    source = tmp_path / "source"
    bad = {"messages": [USER, ANSWER | {"weight": 2}], "id": 1}
    source.write_text("\n".join(map(json.dumps, [bad, ROWS[Shape.MESSAGES]])))
    done = convert(source, tmp_path / "rows.arrow", "a.jsonl", accept_partial=True)
    assert [(count.name, count.num_rows) for count in done.fields] == [("messages", 1)]


@st.composite
def rows_with_extras(draw: st.DrawFn) -> tuple[Shape, dict[str, Any]]:
    shape = draw(st.sampled_from(list(Shape)))
    names = draw(st.lists(st.sampled_from(sorted(EXTRA)), unique=True, max_size=4))
    row = {name: draw(st.sampled_from(EXTRA[name])) for name in names} | ROWS[shape]
    return shape, row


@given(case=rows_with_extras(), is_named=st.booleans())
@FUZZ
def test_every_field_is_used_or_refused_or_counted(tmp_path: Path, case: tuple[Shape, dict[str, Any]], is_named: bool):
    shape, row = case
    content = json.dumps(row).encode()
    try:
        done = converted(tmp_path, content, "a.jsonl", shape if is_named else None)
    except DatasetInvalidError:
        done = None
    if done is None:
        has_turns = row.get("history", "[]") != "[]" and shape not in (Shape.ALPACA, Shape.TEXT)
        is_unknown = FORMS[shape].is_whole_row and not row.keys() <= FORMS[shape].fields
        assert REFUSED & row.keys() or ((has_turns or is_unknown) and not is_named)
        return
    assert {count.name for count in done.fields} == {name for name, value in row.items() if value not in (None, "")}
    [plain] = read_rows(tmp_path / "rows.arrow")
    for count in done.fields:
        is_needed = count.name in ROWS[shape] or count.name in FORMS[done.shape].required
        if count.used_as is None or is_needed or row[count.name] == "[]":
            continue
        # A field that is used makes a difference.
        without = json.dumps({name: value for name, value in row.items() if name != count.name}).encode()
        converted(tmp_path, without, "a.jsonl", done.shape)
        assert [plain] != list(read_rows(tmp_path / "rows.arrow"))


def table_of(row: dict[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}


@given(case=rows_with_extras(), order=st.randoms(use_true_random=False))
@FUZZ
def test_neither_the_order_of_keys_nor_the_format_changes_a_row(
    tmp_path: Path, case: tuple[Shape, dict[str, Any]], order: Any
):
    shape, row = case
    row = {name: value for name, value in row.items() if value not in (None, "")}
    if shape is Shape.OPENAI_DPO:
        row.pop("history", None)
    shuffled = list(row.items())
    order.shuffle(shuffled)
    sheet, columns = io.StringIO(), io.BytesIO()
    csv.writer(sheet).writerows([list(dict(shuffled)), list(table_of(dict(shuffled)).values())])
    parquet.write_table(pa.Table.from_pylist([table_of(dict(shuffled))]), columns)
    files = {
        "a.jsonl": json.dumps(row).encode(),
        "b.jsonl": json.dumps(dict(shuffled)).encode(),
        "a.json": json.dumps([dict(shuffled)], indent=1).encode(),
        "a.csv": sheet.getvalue().encode(),
        "a.parquet": columns.getvalue(),
    }
    results = {}
    for filename, content in files.items():
        try:
            fields = converted(tmp_path, content, filename, shape).fields
        except DatasetInvalidError as error:
            results[filename] = str(error).rpartition("[")[2]
        else:
            used = sorted((count.name, count.used_as or "", count.num_rows) for count in fields)
            results[filename] = json.dumps([list(read_rows(tmp_path / "rows.arrow")), used])
    assert len(set(results.values())) == 1, results

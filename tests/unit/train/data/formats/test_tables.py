import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.support.rows import read_rows
from train.data.convert import DatasetFile, convert
from train.data.formats import jsonl
from train.data.formats.tables import parse_csv, parse_tsv
from train.data.preview import preview
from train.data.rows.canonical import CanonicalFile
from train.data.rows.errors import DatasetInvalidError, RowError, Rule
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Shape


def stream(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]


def parsed(data: bytes) -> list[tuple[int, Any]]:
    return [(number, value.rule if isinstance(value, RowError) else value) for number, value in parse_csv(stream(data))]


def test_quotes_line_ends_bom_and_empty_cells():
    data = b'\xef\xbb\xbfprompt, completion\r\n"Say ""hi"",\r\nplease",Hi\r\n\r\n,\xe2\x98\x83\r\nlast,"x"'
    assert parsed(data) == [
        (2, {"prompt": 'Say "hi",\r\nplease', "completion": "Hi"}),
        (5, {"prompt": None, "completion": "☃"}),
        (6, {"prompt": "last", "completion": "x"}),
    ]


def test_semicolons_and_tabs():
    assert parsed(b"a;b\n1,5;2\n") == [(2, {"a": "1,5", "b": "2"})]
    assert parsed(b"a;b,c\n1;2,3\n") == [(2, {"a;b": "1;2", "c": "3"})]
    assert list(parse_tsv(stream(b"a\tb;c\n1,5\t2\n"))) == [(2, {"a": "1,5", "b;c": "2"})]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"a,b\n", []),
        (b"a,b\n1\n3,4\n", [(2, Rule.WRONG_COLUMNS), (3, {"a": "3", "b": "4"})]),
        (b"a,b\n1,2,3\n3,4\n", [(2, Rule.WRONG_COLUMNS), (3, {"a": "3", "b": "4"})]),
        (b'a,b\n"1"2,3\n3,4\n', [(2, Rule.BROKEN_CSV), (3, {"a": "3", "b": "4"})]),
        # Read as they are, the quotes would be part of the text.
        (b'a, b\n"1", "2"\n3,4\n', [(2, Rule.BROKEN_CSV), (3, {"a": "3", "b": "4"})]),
        (b'a,b\n "1, one",2\n3,4\n', [(2, Rule.BROKEN_CSV), (3, {"a": "3", "b": "4"})]),
        (
            b'a,b\n1," ""2"", she said"\n 3,"4 "\n',
            [(2, {"a": "1", "b": ' "2", she said'}), (3, {"a": " 3", "b": "4 "})],
        ),
        (b"a,b\n1\r2,3\n3,4\n", [(2, Rule.BROKEN_CSV), (3, {"a": "3", "b": "4"})]),
        (b"a,b\n\xff,3\n3,4\n", [(2, Rule.INVALID_UTF8), (3, {"a": "3", "b": "4"})]),
        (b'a,b\n3,4\n"1,2\n3,4\n', [(2, {"a": "3", "b": "4"}), (3, Rule.CUT_OFF)]),
        # Inside quotes the next line is none, and what it holds is no row.
        (b'a,b\n"1 \xe9 line\nsecond line",2\n3,4\n', [(2, Rule.INVALID_UTF8), (4, {"a": "3", "b": "4"})]),
        (b'a,b\n"1\n\xe9\n\xff\n",2\n3,4\n', [(2, Rule.INVALID_UTF8), (6, {"a": "3", "b": "4"})]),
        (b'a,b\n"1 "2" so\nsecond line",2\n3,4\n', [(2, Rule.BROKEN_CSV)]),
    ],
)
def test_a_broken_row_does_not_hide_the_next(data: bytes, found: list[tuple[int, Any]]):
    assert parsed(data) == found


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a,a\n1,2\n", "Two columns of the header have the same name, 'a'; rename or remove one. [wrong_columns]"),
        (b'"a"b,c\n1,2\n', "The header in line 1 is broken. [broken_csv]"),
        (b"a,\xff\n1,2\n", "line 1: Line 1 is not valid UTF-8 (byte 3). [invalid_utf8]"),
    ],
)
def test_a_header_that_cannot_be_used(data: bytes, sentence: str):
    with pytest.raises(DatasetInvalidError) as caught:
        parsed(data)
    assert caught.value.message == sentence


def test_a_row_that_is_too_long_is_skipped_and_open_quotes_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonl, "MAX_ROW_BYTES", 100)
    long = b"x" * 300
    assert parsed(b"a,b\n1," + long + b"\n3,4\n") == [(2, Rule.ROW_TOO_LONG), (3, {"a": "3", "b": "4"})]
    assert parsed(b'a,b\n1,"' + b"x\n" * 300) == [(2, Rule.ROW_TOO_LONG)]
    assert parsed(b'a,b\n1,"' + long + b'"\n3,4\n') == [(2, Rule.ROW_TOO_LONG), (3, {"a": "3", "b": "4"})]


@pytest.mark.parametrize("line", [b'1,"' + b"x" * 300, b"1," + b"x" * 300 + b',"y'])
def test_after_a_row_that_is_too_long_and_leaves_a_quote_open_nothing_is_read(
    line: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jsonl, "MAX_ROW_BYTES", 100)
    ((number, error),) = parse_csv(stream(b"a,b\n" + line + b'\nsecond line",2\n3,4\n'))
    assert (number, error.rule) == (2, Rule.ROW_TOO_LONG)
    assert error.message.endswith("It leaves a quote open, so what follows is not read.")


def test_with_accept_partial_a_bad_byte_inside_quotes_leaves_out_its_row_alone(tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(b'prompt,completion\n"first \xe9 line\nsecond line",one\nWhy?,Because.\n')
    found = convert(source, tmp_path / "rows.arrow", "table.csv", accept_partial=True)
    assert (found.num_rows, found.num_skipped) == (1, 1)
    assert str(found.problems[0]) == "line 2: Line 2 is not valid UTF-8 (byte 8). [invalid_utf8]"
    (row,) = read_rows(tmp_path / "rows.arrow")
    assert [message["content"] for message in row["messages"]] == ["Why?", "Because."]


def test_lists_stand_as_json_in_a_cell(tmp_path: Path):
    messages = [{"role": "user", "content": 'Say "hi",\nplease'}, {"role": "assistant", "content": "Hi"}]
    tools = [{"type": "function", "function": {"name": "look"}}]
    cells = ['"' + json.dumps(value).replace('"', '""') + '"' for value in (messages, tools)]
    source = tmp_path / "source"
    source.write_text("id,messages,tools\n" + f"1,{cells[0]},{cells[1]}\n2,{cells[0]},\n")
    assert convert(source, tmp_path / "rows.arrow", "chats.csv").shape == "messages"
    assert list(read_rows(tmp_path / "rows.arrow")) == [{"messages": messages, "tools": tools}, {"messages": messages}]


ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}]
GOOD, BAD = ([{"role": "assistant", "content": content}] for content in ("Here.", "Go away."))
PAIR = {"prompt": ASKED, "chosen": GOOD, "rejected": BAD}
SHOWN_BY_PYTHON = str(GOOD)


def write_table(path: Path, row: dict[str, Any], filename: str) -> None:
    """One row with its lists as JSON."""
    cells = {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
    if filename.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist([cells]), path)
        return
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(cells), delimiter="\t" if filename.endswith(".tsv") else ",")
        table.writeheader()
        table.writerow(cells)


@pytest.mark.parametrize("filename", ["a.csv", "a.tsv", "a.parquet"])
@pytest.mark.parametrize(
    ("row", "shape", "normal"),
    [
        ({"prompt": ASKED, "completion": GOOD}, "prompt_completion", {"messages": ASKED + GOOD}),
        ({"prompt": ASKED, "chosen": GOOD, "rejected": BAD}, "preference", PAIR),
        ({"prompt": ASKED, "chosen": "Here.", "rejected": "Go away."}, "preference", PAIR),
        ({"chosen": ASKED + GOOD, "rejected": ASKED + BAD}, "preference", PAIR),
        ({"prompt": ASKED, "chosen": ASKED + GOOD, "rejected": ASKED + BAD}, "preference", PAIR),
        (
            {"prompt": ASKED, "completion": [{"from": "gpt", "value": "Here."}], "label": "1"},
            "unpaired",
            {"prompt": ASKED, "completion": GOOD, "label": True},
        ),
    ],
)
def test_what_may_be_a_text_or_a_list_is_a_list_where_a_cell_holds_messages(
    tmp_path: Path, row: dict[str, Any], shape: str, normal: dict[str, Any], filename: str
):
    source, target = tmp_path / "source", tmp_path / "rows.arrow"
    write_table(source, row, filename)
    assert convert(source, target, filename).shape == shape
    assert list(read_rows(target)) == [normal]
    (shown,) = preview(DatasetFile.of(source, filename), Shape(shape), ColumnMapping(), 1)
    assert shown.row == normal


@pytest.mark.parametrize(
    "text",
    [
        "[INST] Hi",
        "[1, 2]",
        "[]",
        '[{"from": "Paris", "to": "Rome"}]',
        '[{"role": "admin"}]',
        '[{"role": "admin"',
        "{}",
    ],
)
def test_other_cells_that_begin_like_a_list_are_texts(tmp_path: Path, text: str):
    write_table(tmp_path / "source", {"prompt": text, "completion": text}, "a.csv")
    convert(tmp_path / "source", tmp_path / "rows.arrow", "a.csv")
    (row,) = read_rows(tmp_path / "rows.arrow")
    assert [message["content"] for message in row["messages"]] == [text, text]


def test_messages_in_the_text_of_a_json_line_are_a_text(tmp_path: Path):
    (tmp_path / "source").write_text(json.dumps({"prompt": "Show a chat.", "completion": json.dumps(ASKED)}))
    convert(tmp_path / "source", tmp_path / "rows.arrow", "a.jsonl")
    (row,) = read_rows(tmp_path / "rows.arrow")
    assert row["messages"][1]["content"] == json.dumps(ASKED)


@pytest.mark.parametrize(
    ("completion", "problem"),
    [
        (SHOWN_BY_PYTHON, "completion is broken JSON at character 3. [broken_json]"),
        (json.dumps(GOOD)[:-2], "completion is broken JSON at character 42. [broken_json]"),
        (json.dumps([*GOOD, {"role": "robot"}]), "completion[2].role must be one of"),
    ],
)
def test_a_cell_with_messages_that_cannot_be_used_is_no_text_either(tmp_path: Path, completion: str, problem: str):
    write_table(tmp_path / "source", {"prompt": ASKED, "completion": completion}, "a.csv")
    with pytest.raises(DatasetInvalidError) as caught:
        convert(tmp_path / "source", tmp_path / "rows.arrow", "a.csv")
    assert f"line 2: {problem}" in caught.value.message


def test_messages_in_a_cell_may_have_keys_that_the_user_named(tmp_path: Path):
    said = [{"who": "Agent", "said": "Here."}]
    write_table(tmp_path / "source", {"prompt": "Where?", "completion": said, "label": "0"}, "a.csv")
    mapping = ColumnMapping.parse(None, {"role": "who", "content": "said", "role.Agent": "assistant"})
    convert(tmp_path / "source", tmp_path / "rows.arrow", "a.csv", mapping=mapping)
    (row,) = read_rows(tmp_path / "rows.arrow")
    assert row["completion"] == GOOD


def test_verdicts_and_lines_of_a_table(tmp_path: Path):
    source = tmp_path / "source"
    source.write_text('prompt\tcompletion\tlabel\n"a\nb"\tc\tTRUE\nd\te\t0\n')
    assert convert(source, tmp_path / "rows.arrow", "verdicts.tsv").shape == "unpaired"
    with CanonicalFile.open(tmp_path / "rows.arrow") as file:
        (batch,) = file.batches()
    assert [(line, row["label"]) for line, row in batch] == [(2, True), (4, False)]

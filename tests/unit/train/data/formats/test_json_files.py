"""JSON files that are written in other ways than one object per line or one array."""

import json
from pathlib import Path

import pytest

from tests.support.rows import read_rows
from train.data.convert import Conversion, convert
from train.data.rows.errors import DatasetInvalidError

HI, BYE = {"prompt": "Hi", "completion": "Hello."}, {"prompt": "Bye", "completion": "See you."}
BOM = "\ufeff"


def converted(folder: Path, text: str, filename: str) -> Conversion:
    source = folder / "source"
    source.write_text(text)
    return convert(source, folder / "rows.arrow", filename)


def refusal(folder: Path, text: str, filename: str) -> str:
    with pytest.raises(DatasetInvalidError) as refused:
        converted(folder, text, filename)
    return str(refused.value)


@pytest.mark.parametrize("filename", ["a.jsonl", "a.json"])
def test_an_array_on_one_line_is_read_by_its_elements(tmp_path: Path, filename: str):
    assert converted(tmp_path, json.dumps([HI, BYE]), filename).num_rows == 2


def test_a_byte_order_mark_in_the_middle_of_joined_files_is_skipped(tmp_path: Path):
    lines = f"{BOM}{json.dumps(HI)}\n{BOM}{json.dumps(BYE)}\n"
    assert converted(tmp_path, lines, "a.jsonl").num_rows == 2
    assert [row["messages"][0]["content"] for row in read_rows(tmp_path / "rows.arrow")] == ["Hi", "Bye"]


def test_a_column_that_is_null_until_late_is_read(tmp_path: Path):
    early = [json.dumps({**HI, "prompt": f"{number}?", "system": None}) for number in range(1200)]
    late = json.dumps({**BYE, "system": "Be brief."})
    assert converted(tmp_path, "\n".join([*early, late]), "a.jsonl").num_rows == 1201
    assert list(read_rows(tmp_path / "rows.arrow"))[-1]["messages"][0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("text", "filename", "problem"),
    [
        (
            '{"prompt": "Hi", "completion": "Hello.", "completion": "Go away."}',
            "a.jsonl",
            "line 1: The key 'completion' appears more than once in an object; keep one. [repeated_key]",
        ),
        (
            '[{"prompt": "Hi", "completion": "Hello.", "prompt": "Bye"}]',
            "a.json",
            "row 1: The key 'prompt' appears more than once in an object; keep one. [repeated_key]",
        ),
        (
            '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "role": "user", "content": "A"}]}',
            "a.jsonl",
            "line 1: The key 'role' appears more than once in an object; keep one. [repeated_key]",
        ),
        (
            '{"a\\ud800\\n": 1, "a\\ud800\\n": 2}',
            "a.jsonl",
            "line 1: The key 'a??' appears more than once in an object; keep one. [repeated_key]",
        ),
        (
            json.dumps(HI) + json.dumps(BYE),
            "a.jsonl",
            "line 1: The JSON is broken at column 41: Extra data; write one row per line. [broken_json]",
        ),
        (
            json.dumps(HI, indent=1) + "\n" + json.dumps(BYE, indent=1),
            "a.jsonl",
            "line 1: The JSON is broken at column 3: Expecting property name enclosed in double quotes; "
            "write each row on one line. [broken_json]",
        ),
        (
            json.dumps(HI, indent=1) + "\n" + json.dumps(BYE, indent=1),
            "a.json",
            "row 1: A .json file must hold one array of rows, or one object per line; an object over several lines "
            "must be an element of an array. [not_an_array]",
        ),
        (
            json.dumps({"data": [HI, BYE]}, indent=1),
            "a.json",
            "row 1: The rows are inside the list 'data'; upload that list alone, as one array. [not_an_array]",
        ),
        (
            json.dumps({"version": 1, "data": [HI, BYE]}),
            "a.json",
            "The rows are inside the list 'data'; upload that list alone, as one array. [not_an_array]",
        ),
        (
            json.dumps(HI) + '\n{"prompt": "2+2?", "completion": 4}',
            "a.jsonl",
            "line 2: completion is not a text. [wrong_type]",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(tmp_path: Path, text: str, filename: str, problem: str):
    assert problem in refusal(tmp_path, text, filename).splitlines()

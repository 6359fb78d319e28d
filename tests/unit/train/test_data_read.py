import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from train.data import parse, read
from train.data.errors import DatasetInvalidError
from train.data.read import Conversion, convert, read_dataset, read_rows
from train.data.shapes import Rule, Shape

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")


def pair(question: str = "Where?", answer: str = "Here.") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def line(row: object) -> bytes:
    return json.dumps(row).encode() + b"\n"


def write(folder: Path, content: bytes, name: str = "source") -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def convert_bytes(folder: Path, content: bytes, filename: str = "notes.jsonl") -> Conversion:
    return convert(write(folder, content), folder / "rows.jsonl", filename)


def refusal(folder: Path, content: bytes, filename: str = "notes.jsonl") -> str:
    """The message of the refusal; nothing but the source stays behind."""
    with pytest.raises(DatasetInvalidError) as caught:
        convert_bytes(folder, content, filename)
    assert [file.name for file in folder.iterdir()] == ["source"]
    assert (caught.value.code, caught.value.status) == ("dataset_invalid", 422)
    return caught.value.message


def test_jsonl_becomes_canonical_rows(tmp_path: Path):
    alpaca = {"instruction": "Grüße\u2028sagen ☃", "output": "\ud83d\ude00"}
    assert convert_bytes(tmp_path, line(alpaca) * 2) == Conversion("jsonl", Shape.ALPACA, 2)
    expected = '{"messages":[{"role":"user","content":"Grüße\u2028sagen ☃"},{"role":"assistant","content":"😀"}]}\n'
    assert (tmp_path / "rows.jsonl").read_bytes() == expected.encode() * 2
    assert list(read_rows(tmp_path / "rows.jsonl")) == [pair("Grüße\u2028sagen ☃", "😀")] * 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rows.jsonl", "source"]


def test_an_earlier_target_is_replaced_only_on_success(tmp_path: Path):
    target = write(tmp_path, b"before", "rows.jsonl")
    with pytest.raises(DatasetInvalidError):
        convert_bytes(tmp_path, b"{}\n")
    assert target.read_bytes() == b"before"
    convert_bytes(tmp_path, line(pair()))
    assert list(read_rows(target)) == [pair()]


def test_bom_windows_line_ends_blank_lines_and_a_missing_last_line_end(tmp_path: Path):
    content = b"\xef\xbb\xbf" + line(pair()).strip() + b"\r\n\r\n  \n" + b"\t" + line(pair("Who?")).strip()
    seen: list[int] = []
    report = read_dataset(write(tmp_path, content), "jsonl", lambda number, _: seen.append(number))
    assert (report.num_rows, report.num_problems, report.shape) == (2, 0, Shape.MESSAGES)
    assert seen == [1, 4]


def test_a_json_array(tmp_path: Path):
    rows = [pair(), pair("Who?")]
    content = b"\xef\xbb\xbf\r\n" + json.dumps(rows, indent=2).encode() + b"\n\n"
    assert convert_bytes(tmp_path, content, "notes.JSON") == Conversion("json", Shape.MESSAGES, 2)
    assert list(read_rows(tmp_path / "rows.jsonl")) == rows


@pytest.mark.parametrize(
    ("filename", "content", "file_format"),
    [
        ("a.b.jsonl", line(pair()), "jsonl"),
        ("a.NDJSON", line(pair()), "jsonl"),
        ("upload", line(pair()), "jsonl"),
        ("upload", b"\xef\xbb\xbf\n [" + line(pair()) + b"]", "json"),
    ],
)
def test_the_name_decides_the_format_and_the_content_helps(
    tmp_path: Path, filename: str, content: bytes, file_format: str
):
    assert convert_bytes(tmp_path, content, filename).format == file_format


@pytest.mark.parametrize(
    ("content", "filename", "message"),
    [
        (b"", "a.jsonl", "The file is empty."),
        (b"", "a", "The file is empty."),
        (b"\n \r\n", "a.jsonl", "The file holds no rows."),
        (b"\xef\xbb\xbf", "a.jsonl", "The file holds no rows."),
        (b" [ ] ", "a.json", "The file holds no rows."),
        (PNG, "a.jsonl", "The file is not text in UTF-8: it is binary or in another encoding."),
        (PNG, "a.json", "The file is not text in UTF-8: it is binary or in another encoding."),
        ('{"messages": []}'.encode("utf-16"), "a.jsonl", "The file is not text in UTF-8"),
        (b"a,b\n", "a.csv", "The file name must end in .jsonl or .json."),
    ],
)
def test_a_file_that_is_no_dataset(tmp_path: Path, content: bytes, filename: str, message: str):
    assert refusal(tmp_path, content, filename).startswith(message)


@pytest.mark.parametrize(
    ("bad", "rule", "message"),
    [
        (b'{"messages": [}', Rule.BROKEN_JSON, "The JSON is broken at column 15: Expecting value."),
        (b'{"messages": []} {}', Rule.BROKEN_JSON, "The JSON is broken at column 18: Extra data."),
        (b"nonsense", Rule.BROKEN_JSON, "The JSON is broken at column 1: Expecting value."),
        (b'{"messages": "\xff"}', Rule.INVALID_UTF8, "The line is not valid UTF-8 (byte 15)."),
        (b'{"messages": "\xed\xa0\x80"}', Rule.INVALID_UTF8, "The line is not valid UTF-8 (byte 15)."),
        (b'{"messages": NaN}', Rule.NON_FINITE_NUMBER, "NaN and Infinity are not valid in JSON."),
        (b'{"messages": [-Infinity]}', Rule.NON_FINITE_NUMBER, "NaN and Infinity are not valid in JSON."),
        (b'{"messages": 1e400}', Rule.NON_FINITE_NUMBER, "A number is too large."),
        (b'{"messages": ' + b"9" * 5000 + b"}", Rule.BROKEN_JSON, "A number has too many digits."),
        (b'{"id": "\\ud83d"}', Rule.LONE_SURROGATE, "A text holds half of a surrogate pair."),
        (b'{"id": "\\uDE00\\uD83D"}', Rule.LONE_SURROGATE, "A text holds half of a surrogate pair."),
        (b'{"id": ' + b"[" * 200_000, Rule.TOO_DEEP, "The row is nested too deeply."),
        (b"[1]", Rule.NOT_AN_OBJECT, "The row is not a JSON object."),
        (b'"canary"', Rule.NOT_AN_OBJECT, "The row is not a JSON object."),
        (b'{"canary": 1}', Rule.MISSING_FIELD, "The row has no 'messages'."),
        (
            b'{"prompt": "x", "completion": "y"}',
            Rule.MIXED_SHAPES,
            "The row has shape 'prompt_completion', the first one 'messages'.",
        ),
        (line(pair("canary", "")).strip(), Rule.EMPTY_CONTENT, "messages[2].content is empty."),
    ],
)
def test_a_bad_line_is_named_with_its_rule(tmp_path: Path, bad: bytes, rule: Rule, message: str):
    content = line(pair()) + b"\n" + bad + b"\n" + line(pair())
    found = refusal(tmp_path, content)
    assert found == f"The dataset has 1 problem:\nline 3: {message} [{rule}]"
    assert "canary" not in found


def test_an_unknown_shape_names_the_known_ones(tmp_path: Path):
    message = refusal(tmp_path, line({"text": "canary"}) + line([]))
    assert "line 1: The row must have the fields 'messages', or 'conversations'" in message
    assert "[unknown_shape]\nline 2: The row is not a JSON object. [not_an_object]" in message


def test_a_broken_first_line_does_not_decide_the_shape(tmp_path: Path):
    report = read_dataset(write(tmp_path, b"{\n" + line(pair())), "jsonl")
    assert (report.shape, report.num_rows, report.num_problems) == (Shape.MESSAGES, 1, 1)


def test_all_problems_are_counted_and_ten_are_listed(tmp_path: Path):
    message = refusal(tmp_path, line(pair()) + b"{}\n" * 12)
    lines = message.splitlines()
    assert lines[0] == "The dataset has 12 problems:"
    assert [text.partition(":")[0] for text in lines[1:-1]] == [f"line {number}" for number in range(2, 12)]
    assert lines[-1] == "and 2 more."


def test_a_line_that_is_too_long_is_skipped_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parse, "MAX_ROW_BYTES", 200)
    content = line(pair()) + line(pair("x" * 900)) + line(pair("Who?"))
    report = read_dataset(write(tmp_path, content), "jsonl")
    assert report.num_rows == 2
    assert [(problem.place, problem.rule) for problem in report.problems] == [("line 2", Rule.ROW_TOO_LONG)]


def test_a_json_array_that_is_too_large_is_sent_to_jsonl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(read, "MAX_JSON_BYTES", 10)
    assert "write larger ones as .jsonl" in refusal(tmp_path, json.dumps([pair()]).encode(), "a.json")


GOOD = json.dumps(pair()).encode()


@pytest.mark.parametrize(
    ("content", "place", "rule"),
    [
        (b"[" + GOOD + b",\n {]", "row 2: The JSON is broken at line 2, column 3: ", Rule.BROKEN_JSON),
        (
            b"[\n" + GOOD + b"\n " + GOOD + b"]",
            "row 1: The JSON is broken at line 3, column 2: ",
            Rule.BROKEN_JSON,
        ),
        (b"[" + GOOD + b",]", "row 2: The JSON is broken at line 1, column ", Rule.BROKEN_JSON),
        (b"[" + GOOD, "row 1: The JSON is broken at line 1, column ", Rule.BROKEN_JSON),
        (
            b"[" + GOOD + b"]\n]",
            "row 2: The JSON is broken at line 2, column 1: Extra data.",
            Rule.BROKEN_JSON,
        ),
        (b"[" + GOOD + b', {"a": NaN}]', "row 2: NaN and Infinity", Rule.NON_FINITE_NUMBER),
        (b"[" + GOOD + b', {"a": "\\ud800"}]', "row 2: A text holds half", Rule.LONE_SURROGATE),
        (b"[" + GOOD + b", 3]", "row 2: The row is not a JSON object.", Rule.NOT_AN_OBJECT),
        (b"[" + GOOD + b", {}]", "row 2: The row has no 'messages'.", Rule.MISSING_FIELD),
        (b"[" + GOOD + b",\n\xff]", "row 1: The file is not valid UTF-8 in line 2.", Rule.INVALID_UTF8),
        (GOOD + b"\n" + GOOD, "row 1: A .json file must hold one array of rows; name it", Rule.NOT_AN_ARRAY),
    ],
)
def test_a_bad_json_array(tmp_path: Path, content: bytes, place: str, rule: Rule):
    message = refusal(tmp_path, content, "a.json")
    assert f"\n{place}" in message
    assert message.endswith(f"[{rule}]")


def test_a_failing_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(read.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        convert_bytes(tmp_path, line(pair()))
    assert [file.name for file in tmp_path.iterdir()] == ["source"]


pieces = st.sampled_from(
    [b'"', b"\\ud800", b"\xff", b"1e999", b"\xef\xbb\xbf", GOOD, GOOD + b"\n", b"\n", b"[", b"]", b",", b"{"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    content=st.lists(pieces | st.binary(max_size=5), max_size=12).map(b"".join),
    suffix=st.sampled_from(["", ".json"]),
)
def test_any_bytes_are_either_refused_or_readable(tmp_path: Path, content: bytes, suffix: str):
    target = tmp_path / "rows.jsonl"
    target.unlink(missing_ok=True)
    try:
        done = convert_bytes(tmp_path, content, f"a{suffix}")
    except DatasetInvalidError:
        assert not target.exists()
    else:
        assert len(list(read_rows(target))) == done.num_rows > 0


def test_reading_imports_nothing_heavy():
    heavy = ("torch", "transformers", "jinja2", "datasets")
    code = f"import sys, train.data.read; print(*set({heavy}) & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import read_rows
from train.data.convert import Conversion, convert
from train.data.formats import jsonl
from train.data.rows.canonical import CanonicalFile, Kind
from train.data.rows.errors import DatasetInvalidError, Rule
from train.data.shapes.ledger import FieldCount
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Shape

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")


def used(num_rows: int, **names: str) -> tuple[FieldCount, ...]:
    return tuple(FieldCount(name, becomes, num_rows) for name, becomes in names.items())


def pair(question: str = "Where?", answer: str = "Here.") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def line(row: object) -> bytes:
    return json.dumps(row).encode() + b"\n"


def write(folder: Path, content: bytes, name: str = "source") -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def convert_bytes(folder: Path, content: bytes, filename: str = "notes.jsonl", **options: Any) -> Conversion:
    return convert(write(folder, content), folder / "rows.arrow", filename, **options)


def lines_of(folder: Path) -> list[int]:
    with CanonicalFile.open(folder / "rows.arrow") as file:
        return [line for batch in file.batches() for line, _ in batch]


def refusal(folder: Path, content: bytes, filename: str = "notes.jsonl") -> str:
    """The message of the refusal; nothing but the source stays behind."""
    with pytest.raises(DatasetInvalidError) as caught:
        convert_bytes(folder, content, filename)
    assert [file.name for file in folder.iterdir()] == ["source"]
    assert (caught.value.code, caught.value.status) == ("dataset_invalid", 422)
    return caught.value.message


def test_jsonl_becomes_canonical_rows(tmp_path: Path):
    alpaca = {"instruction": "Grüße\u2028sagen ☃", "output": "\ud83d\ude00"}
    assert convert_bytes(tmp_path, line(alpaca) * 2) == Conversion(
        "jsonl", Shape.ALPACA, Kind.MESSAGES, 2, fields=used(2, instruction="user message", output="assistant message")
    )
    assert list(read_rows(tmp_path / "rows.arrow")) == [pair("Grüße\u2028sagen ☃", "😀")] * 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rows.arrow", "source"]


def test_an_earlier_target_is_replaced_only_on_success(tmp_path: Path):
    target = write(tmp_path, b"before", "rows.arrow")
    with pytest.raises(DatasetInvalidError):
        convert_bytes(tmp_path, b"{}\n")
    assert target.read_bytes() == b"before"
    convert_bytes(tmp_path, line(pair()))
    assert list(read_rows(target)) == [pair()]


def test_bom_windows_line_ends_blank_lines_and_a_missing_last_line_end(tmp_path: Path):
    content = b"\xef\xbb\xbf" + line(pair()).strip() + b"\r\n\r\n  \n" + b"\t" + line(pair("Who?")).strip()
    assert convert_bytes(tmp_path, content) == Conversion(
        "jsonl", Shape.MESSAGES, Kind.MESSAGES, 2, fields=used(2, messages="messages")
    )
    assert lines_of(tmp_path) == [1, 4]


def test_a_json_array(tmp_path: Path):
    rows = [pair(), pair("Who?")]
    content = b"\xef\xbb\xbf\r\n" + json.dumps(rows, indent=2).encode() + b"\n\n"
    assert convert_bytes(tmp_path, content, "notes.JSON") == Conversion(
        "json", Shape.MESSAGES, Kind.MESSAGES, 2, fields=used(2, messages="messages")
    )
    assert list(read_rows(tmp_path / "rows.arrow")) == rows


@pytest.mark.parametrize(
    ("filename", "content", "file_format"),
    [
        ("a.b.jsonl", line(pair()), "jsonl"),
        ("a.NDJSON", line(pair()), "jsonl"),
        ("upload", line(pair()), "jsonl"),
        ("upload", b"\xef\xbb\xbf\n [" + line(pair()) + b"]", "json"),
        ("a.jsonl", b"[" + line(pair()) + b"]", "json"),
        ("a.json", line(pair()) * 2, "jsonl"),
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
        ('{"messages": []}'.encode("utf-16"), "a.jsonl", "The file is text in UTF-16; save it as UTF-8."),
        ('{"messages": []}'.encode("utf-16-le"), "a.jsonl", "The file is text in UTF-16; save it as UTF-8."),
        ("a,ä\n".encode("utf-16-be"), "a.csv", "The file is text in UTF-16; save it as UTF-8."),
        ('{"messages": []}'.encode("utf-32"), "a.json", "The file is text in UTF-32; save it as UTF-8."),
        (b"a,b\n", "a.xlsx", "The file name must end in .jsonl, .json, .csv, .tsv or .parquet"),
        (b"a,b\n", "a", "The file name must end in .jsonl, .json, .csv, .tsv or .parquet"),
    ],
)
def test_a_file_that_is_no_dataset(tmp_path: Path, content: bytes, filename: str, message: str):
    assert refusal(tmp_path, content, filename).startswith(message)


@pytest.mark.parametrize(
    ("bad", "rule", "message"),
    [
        (b'{"messages": [}', Rule.BROKEN_JSON, "The JSON is broken at column 15: Expecting value."),
        (
            b'{"messages": []} {}',
            Rule.BROKEN_JSON,
            "The JSON is broken at column 18: Extra data; write one row per line.",
        ),
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
            "The row has shape 'prompt_completion', the others have 'messages'.",
        ),
        (
            line(pair("canary", "")).strip(),
            Rule.EMPTY_CONTENT,
            "messages[2].content is empty, which would train the model to say nothing; remove the message, or set its "
            "weight to 0.",
        ),
        (
            line({"messages": pair("canary")["messages"] * 1000 + pair()["messages"][:1]}).strip(),
            Rule.TOO_MANY_MESSAGES,
            "'messages' has 2,001 messages, and 2,000 are the maximum; split the row.",
        ),
    ],
)
def test_a_bad_line_is_named_with_its_rule(tmp_path: Path, bad: bytes, rule: Rule, message: str):
    content = line(pair()) + b"\n" + bad + b"\n" + line(pair()) * 2
    found = refusal(tmp_path, content)
    assert found == (
        f"The dataset has 1 problem:\nline 3: {message} [{rule}]\n"
        "To keep the 3 valid rows and skip the others, upload again with accept_partial (--accept-partial)."
    )
    assert "canary" not in found


def test_rows_that_are_no_objects_are_named(tmp_path: Path):
    message = refusal(tmp_path, b"7\n" + line("canary"))
    assert message.startswith("The dataset has 2 problems:\nline 1: ")
    assert "canary" not in message
    assert "line 2: The row is not a JSON object. [not_an_object]" in message


def test_an_unknown_shape_asks_for_a_mapping(tmp_path: Path):
    content = line({"question": "Where?", "answer": "Here."})
    assert 'columns={"prompt": "question", "completion": "answer"}' in refusal(tmp_path, content)
    mapping = ColumnMapping.parse(None, {"prompt": "question", "completion": "answer"})
    done = convert_bytes(tmp_path, content, mapping=mapping)
    assert done == Conversion(
        "jsonl",
        Shape.PROMPT_COMPLETION,
        Kind.MESSAGES,
        1,
        fields=(FieldCount("question", "prompt", 1), FieldCount("answer", "completion", 1)),
    )
    assert list(read_rows(tmp_path / "rows.arrow")) == [pair() | {"is_joined": True}]


def test_a_conversation_of_as_many_messages_as_there_may_be_is_taken(tmp_path: Path):
    assert convert_bytes(tmp_path, line({"messages": pair()["messages"] * 1000})).num_rows == 1


def test_a_mapping_that_no_row_fits_names_the_rows(tmp_path: Path):
    with pytest.raises(DatasetInvalidError, match="line 1: The row has no column 'question', which is mapped to"):
        convert_bytes(tmp_path, line(pair()), mapping=ColumnMapping.parse(None, {"prompt": "question"}))


@pytest.mark.parametrize("columns", [{"input": "context"}, {"instruction": "instruction", "input": "context"}])
def test_a_mapped_column_may_be_missing_in_some_rows_but_not_in_all(tmp_path: Path, columns: dict[str, str]):
    bare, full = {"instruction": "Where?", "output": "Here."}, {"instruction": "a", "context": "b", "output": "c"}
    mapping = ColumnMapping.parse(None, columns)
    assert convert_bytes(tmp_path, line(bare) + line(full), mapping=mapping).num_rows == 2
    rows = list(read_rows(tmp_path / "rows.arrow"))
    assert [row["messages"][0]["content"] for row in rows] == ["Where?", "a\n\nb"]
    # A wrong name must not lose the column of all rows without a word.
    for shape in (None, "alpaca"):
        with pytest.raises(DatasetInvalidError, match="column 'contxt', which is mapped to 'input'"):
            convert_bytes(
                tmp_path,
                line(bare) + line(full),
                mapping=ColumnMapping.parse(shape, columns | {"input": "contxt"}),
                accept_partial=True,
            )


def test_two_shapes_in_the_same_rows_are_told_apart_by_the_user(tmp_path: Path):
    content = line(pair() | {"prompt": "Where?", "chosen": "Here.", "rejected": "No."})
    assert "shape=messages" in refusal(tmp_path, content)
    done = convert_bytes(tmp_path, content, mapping=ColumnMapping.parse("preference", None))
    assert (done.shape, done.kind, done.confidence) == (Shape.PREFERENCE, Kind.PREFERENCE, 1.0)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"text": "Once"}, Kind.TEXT),
        ({"chosen": pair()["messages"], "rejected": pair(answer="No.")["messages"]}, Kind.PREFERENCE),
        ({"prompt": "Where?", "completion": "Here.", "label": False}, Kind.UNPAIRED),
    ],
)
def test_the_kind_of_the_rows_is_kept_in_the_file(tmp_path: Path, row: dict[str, Any], kind: Kind):
    assert convert_bytes(tmp_path, line(row)).kind is kind
    with CanonicalFile.open(tmp_path / "rows.arrow") as file:
        assert (file.kind, file.num_rows) == (kind, 1)


def test_bad_rows_are_left_out_and_counted_when_that_is_wanted(tmp_path: Path):
    content = line(pair()) + b"{\n" + line(pair("Who?")) + b"{}\n" * 11
    done = convert_bytes(tmp_path, content, accept_partial=True)
    assert (done.num_rows, done.num_skipped, len(done.problems)) == (2, 12, 10)
    assert [str(problem).partition(":")[0] for problem in done.problems[:2]] == ["line 2", "line 4"]
    assert lines_of(tmp_path) == [1, 3]
    assert (done.shape, done.confidence) == (Shape.MESSAGES, round(2 / 13, 3))


def test_nothing_is_made_of_a_file_with_bad_rows_only(tmp_path: Path):
    write(tmp_path, b'{\n{"messages": []}\n[]\n')
    with pytest.raises(DatasetInvalidError, match="The dataset has 3 problems"):
        convert(tmp_path / "source", tmp_path / "rows.arrow", "a.jsonl", accept_partial=True)
    assert [file.name for file in tmp_path.iterdir()] == ["source"]


def test_all_problems_are_counted_and_ten_are_listed(tmp_path: Path):
    message = refusal(tmp_path, line(pair()) + b"{}\n" * 12)
    lines = message.splitlines()
    assert lines[0] == "The dataset has 12 problems:"
    assert [text.partition(":")[0] for text in lines[1:-2]] == [f"line {number}" for number in range(2, 12)]
    assert lines[-2] == "and 2 more."
    assert (
        lines[-1] == "To keep the 1 valid row and skip the others, upload again with accept_partial (--accept-partial)."
    )


def test_a_line_that_is_too_long_is_skipped_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonl, "MAX_ROW_BYTES", 200)
    content = line(pair()) + line(pair("x" * 900)) + line(pair("Who?"))
    done = convert_bytes(tmp_path, content, accept_partial=True)
    assert (done.num_rows, done.num_skipped) == (2, 1)
    assert [(problem.place, problem.rule) for problem in done.problems] == [("line 2", Rule.ROW_TOO_LONG)]


@pytest.mark.parametrize("filename", ["a.jsonl", "a.json", "a.csv"])
def test_a_row_of_ten_megabytes(tmp_path: Path, filename: str):
    long = "grüße ☃ " * 850_000
    rows = [{"prompt": "x", "completion": long}, {"prompt": "y", "completion": "z"}]
    text = {
        "a.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        "a.json": json.dumps(rows, ensure_ascii=False),
        "a.csv": "prompt,completion\n" + "".join(f"{row['prompt']},{row['completion']}\n" for row in rows),
    }[filename]
    assert len(text.encode()) > 10_000_000
    assert convert_bytes(tmp_path, text.encode(), filename).num_rows == 2
    first, second = read_rows(tmp_path / "rows.arrow")
    assert first["messages"][1]["content"] == long
    assert second["messages"][1]["content"] == "z"


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
        (b"[" + GOOD, "row 1: The file is cut off: it ends at line 1, column ", Rule.CUT_OFF),
        (
            b"[" + GOOD + b"]\n]",
            "row 2: The JSON is broken at line 2, column 1: Extra data.",
            Rule.BROKEN_JSON,
        ),
        (b"[" + GOOD + b', {"a": NaN}]', "row 2: NaN and Infinity", Rule.NON_FINITE_NUMBER),
        (b"[" + GOOD + b', {"a": "\\ud800"}]', "row 2: A text holds half", Rule.LONE_SURROGATE),
        (b"[" + GOOD + b", 3]", "row 2: The row is not a JSON object.", Rule.NOT_AN_OBJECT),
        (b"[" + GOOD + b", {}]", "row 2: The row has no 'messages'.", Rule.MISSING_FIELD),
        (b"[" + GOOD + b",\n\xff]", "row 2: The file is not valid UTF-8 at line 2, column 1.", Rule.INVALID_UTF8),
        (
            json.dumps(pair(), indent=1).encode(),
            "row 1: A .json file must hold one array of rows, or one object per line",
            Rule.NOT_AN_ARRAY,
        ),
    ],
)
def test_a_bad_json_array(tmp_path: Path, content: bytes, place: str, rule: Rule):
    message = refusal(tmp_path, content, "a.json")
    assert f"\n{place}" in message
    assert f"[{rule}]" in message


def test_an_array_that_is_cut_off_is_usable_up_to_the_break(tmp_path: Path):
    content = b"[" + b",\n".join([GOOD] * 5) + b",\n" + GOOD[:30]
    done = convert_bytes(tmp_path, content, "a.json", accept_partial=True)
    assert (done.num_rows, done.num_skipped) == (5, 1)
    assert str(done.problems[0]) == (
        "row 6: The file is cut off: it ends at line 6, column 31, inside row 6, which begins at line 6, column 1. "
        "[cut_off]"
    )
    assert lines_of(tmp_path) == [1, 2, 3, 4, 5]


def test_reading_imports_nothing_heavy():
    heavy = ("torch", "transformers", "jinja2", "datasets", "pyarrow")
    code = f"import sys, train.data.convert; print(*set({heavy}) & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""

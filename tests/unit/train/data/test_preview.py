import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from train.data.convert import DatasetFile
from train.data.formats.source import FileFormat
from train.data.preview import MAX_ROW_CHARS, MAX_TEXT_CHARS, PreviewRow, preview
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Shape


def shown(
    path: Path, file_format: str, shape: Shape, columns: dict[str, str] | None = None, rows: int = 5
) -> list[PreviewRow]:
    mapping = ColumnMapping.parse(shape, columns)
    return preview(DatasetFile(path, FileFormat(file_format)), shape, mapping, rows)


def test_rows_before_and_after_with_their_lines_and_problems(tmp_path: Path):
    file = tmp_path / "source"
    file.write_text('{"q": "x", "a": "y", "id": 1}\n\n{broken\n{"q": "x"}\n{"q": "z", "a": "y"}\n')
    found = shown(file, "jsonl", Shape.PROMPT_COMPLETION, {"prompt": "q", "completion": "a"}, 3)
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    assert found == [
        PreviewRow(1, {"q": "x", "a": "y", "id": 1}, {"messages": turns}, None),
        PreviewRow(
            3,
            None,
            None,
            "The JSON is broken at column 2: Expecting property name enclosed in double quotes. [broken_json]",
        ),
        PreviewRow(4, {"q": "x"}, None, "The row has no column 'a', which is mapped to 'completion'. [missing_field]"),
    ]


def test_a_huge_row_is_shortened(tmp_path: Path):
    file = tmp_path / "source"
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    row = {"text": "x" * 1_000_000, "list": list(range(100_000)), "deep": deep, "number": 10**500}
    file.write_text(json.dumps([row, {"text": "y"}]))
    found = shown(file, "json", Shape.TEXT)
    assert found[0].row == {"text": "x" * MAX_TEXT_CHARS + "…"}
    assert len(json.dumps(found[0].raw)) < 3 * MAX_ROW_CHARS
    assert found[0].raw["list"][-1] == "…"
    assert found[1] == PreviewRow(2, {"text": "y"}, {"text": "y"}, None)


def test_values_that_json_has_no_form_for_are_shown_as_texts(tmp_path: Path):
    row = {"text": "x", "at": datetime(2024, 1, 1, tzinfo=UTC), "blob": b"\xff", "number": float("nan")}
    parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "source")
    (found,) = shown(tmp_path / "source", "parquet", Shape.TEXT)
    assert json.loads(json.dumps(found.raw, allow_nan=False))["number"] == "nan"
    assert "2024" in found.raw["at"]
    assert found.raw["blob"] == "b'\\xff'"

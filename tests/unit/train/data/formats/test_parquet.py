import json
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from train.data.convert import convert
from train.data.formats import jsonl, parquet_process
from train.data.formats import parquet as reading
from train.data.formats.parquet import parse_parquet
from train.data.rows.canonical import CanonicalFile
from train.data.rows.errors import DatasetInvalidError, RowError, Rule

MESSAGES = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]


def write(folder: Path, table: pa.Table, **options: Any) -> Path:
    parquet.write_table(table, folder / "source", **options)
    return folder / "source"


def rows_of(folder: Path) -> list[tuple[int, Any]]:
    with CanonicalFile.open(folder / "rows.arrow") as file:
        return [row for batch in file.batches() for row in batch]


def test_nested_messages_with_fields_that_are_null(tmp_path: Path):
    calling = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "look"}}]}
    rows = [{"messages": MESSAGES, "at": datetime(2024, 1, 1)}, {"messages": [MESSAGES[0], calling], "at": None}]  # noqa: DTZ001
    done = convert(write(tmp_path, pa.Table.from_pylist(rows)), tmp_path / "rows.arrow", "a.parquet")
    assert (done.format, done.shape, done.num_rows) == ("parquet", "messages", 2)
    expected = {"messages": [MESSAGES[0], calling | {"content": ""}]}
    assert rows_of(tmp_path) == [(1, {"messages": MESSAGES}), (2, expected)]


def test_objects_lose_the_fields_that_only_others_have(tmp_path: Path):
    """Arrow gives the calls and tools of all rows the same fields; the same rows in JSON have none of these nulls."""
    rows = []
    for name, arguments in (("weather", {"city": "Paris", "days": [{"day": 1}, {"hour": 2}]}), ("stop", {})):
        call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
        schema = {"type": "object", "properties": {key: {"type": "string", key: 1} for key in arguments}}
        tool = {"type": "function", "function": {"name": name, "parameters": schema}}
        answer = {"role": "assistant", "content": "", "tool_calls": [call]}
        reply = {"role": "tool", "tool_call_id": "c", "content": "18"}
        rows.append({"messages": [MESSAGES[0], answer, reply, MESSAGES[1]], "tools": [tool]})
    (tmp_path / "source.jsonl").write_text("\n".join(map(json.dumps, rows)))
    convert(tmp_path / "source.jsonl", tmp_path / "rows.arrow", "a.jsonl")
    expected = rows_of(tmp_path)
    convert(write(tmp_path, pa.Table.from_pylist(rows)), tmp_path / "rows.arrow", "a.parquet")
    assert rows_of(tmp_path) == expected == list(enumerate(rows, 1))


def test_nulls_that_are_written_stay(tmp_path: Path):
    """In JSON that a text holds, and in a list, a null is none of Arrow's."""
    arguments = '{"city": null}'
    call = {"id": "c", "function": {"name": "look", "arguments": arguments}}
    tools = [{"function": {"name": "look", "parameters": {"default": None}}}]
    row = {"messages": [MESSAGES[0], MESSAGES[1] | {"tool_calls": [call]}]}
    for given in (json.dumps(tools), [{"function": {"name": "look", "enum": ["a", None]}}]):
        convert(write(tmp_path, pa.Table.from_pylist([row | {"tools": given}])), tmp_path / "rows.arrow", "a.parquet")
        assert rows_of(tmp_path) == [(1, row | {"tools": tools if isinstance(given, str) else given})]


def test_rows_are_numbered_through_all_row_groups(tmp_path: Path):
    table = pa.table({"text": [f"row {number}" for number in range(1000)]})
    found = list(parse_parquet(write(tmp_path, table, row_group_size=70)))
    assert found == [(number, {"text": f"row {number - 1}"}) for number in range(1, 1001)]


@pytest.mark.parametrize("cut", [8, 200, -8, -100])
def test_a_file_that_is_cut_off(tmp_path: Path, cut: int):
    source = write(tmp_path, pa.table({"text": [f"row {number}" for number in range(1000)]}))
    source.write_bytes(source.read_bytes()[:cut])
    with pytest.raises(DatasetInvalidError, match=r"The Parquet file is damaged or cut off. \[damaged_file\]"):
        list(parse_parquet(source))


def test_rows_before_a_damaged_group_are_usable(tmp_path: Path):
    table = pa.table({"text": [f"row {number}" for number in range(1000)]})
    source = write(tmp_path, table, row_group_size=500, compression="gzip", use_dictionary=False)
    second = parquet.read_metadata(source).row_group(1).column(0).data_page_offset
    data = bytearray(source.read_bytes())
    data[second : second + 200] = b"\xff" * 200
    source.write_bytes(data)
    done = convert(source, tmp_path / "rows.arrow", "a.parquet", accept_partial=True)
    assert (done.num_rows, str(done.problems[0])) == (500, "row 501: The Parquet file is damaged here. [damaged_file]")


def test_values_that_cannot_be_read_are_named(tmp_path: Path):
    texts = pa.array([b"good", b"\xff", b"fine"]).view(pa.string())
    found = [value for _, value in parse_parquet(write(tmp_path, pa.table({"text": texts})))]
    assert isinstance(found[1], RowError)
    assert (found[0], found[1].rule, found[2]) == ({"text": "good"}, Rule.INVALID_UTF8, {"text": "fine"})
    years = pa.array([0, 2**62, 1], pa.int64()).cast(pa.timestamp("ms"))
    found = [value for _, value in parse_parquet(write(tmp_path, pa.table({"text": ["a", "b", "c"], "at": years})))]
    assert [isinstance(value, RowError) for value in found] == [False, True, False]


def test_a_row_that_is_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonl, "MAX_ROW_BYTES", 1000)
    found = [value for _, value in parse_parquet(write(tmp_path, pa.table({"text": ["a", "b" * 2000, "c"]})))]
    assert isinstance(found[1], RowError)
    assert (found[0], found[1].rule, found[2]) == ({"text": "a"}, Rule.ROW_TOO_LONG, {"text": "c"})


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = pa.table({"text": ["x" * 1_000_000 + str(number) for number in range(10)]})
    source = write(tmp_path, table, compression="zstd", use_dictionary=False)
    monkeypatch.setattr(reading, "MIN_UNPACKED_BYTES", 1024**2)
    with pytest.raises(DatasetInvalidError, match=r"Unpacked, the file is larger .* \[too_large_unpacked\]"):
        list(parse_parquet(source))
    source = write(tmp_path, pa.table({"text": ["x" * 100_000] * 100}))
    monkeypatch.setattr(reading, "MAX_UNPACKED_BYTES", 1024**2)
    with pytest.raises(DatasetInvalidError, match=r"\[too_large_unpacked\]"):
        list(parse_parquet(source))


def test_a_text_that_every_row_repeats_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Such as a long system prompt, of which Parquet keeps one copy."""
    monkeypatch.setattr(reading, "MIN_UNPACKED_BYTES", 1024**2)
    source = write(tmp_path, pa.table({"text": ["x" * 10_000] * 1000}), compression="zstd")
    assert source.stat().st_size < 10_000
    assert len(list(parse_parquet(source))) == 1000


def test_one_huge_value_in_every_row_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file has a few hundred bytes, and its rows take what no row should."""
    texts = pa.DictionaryArray.from_arrays([0] * 64, ["x" * 10 * 1024**2])
    source = write(tmp_path, pa.table({"text": texts}), compression="zstd", store_schema=False)
    monkeypatch.setattr(reading, "MEMORY_BYTES", 600 * 1024**2)
    with pytest.raises(DatasetInvalidError, match=r"takes more than .* of memory.* \[too_large_unpacked\]"):
        list(parse_parquet(source))


@pytest.mark.parametrize("ending", ["os.abort()", "sys.exit(1)"])
def test_a_process_that_dies_over_a_file_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str):
    """As Arrow's does over some damaged files; whatever is no fault of the file is not called one."""
    (tmp_path / "dying.py").write_text(f"import os, sys; {ending}")
    monkeypatch.setattr(parquet_process, "__file__", str(tmp_path / "dying.py"))
    expected = DatasetInvalidError if "abort" in ending else RuntimeError
    with pytest.raises(expected):
        list(parse_parquet(write(tmp_path, pa.table({"text": ["a"]}))))


def test_the_process_ends_with_its_reader(tmp_path: Path):
    rows = parse_parquet(write(tmp_path, pa.table({"text": ["a" * 1000] * 100_000})))
    assert next(rows) == (1, {"text": "a" * 1000})
    (process,) = (each for each in psutil.Process().children() if parquet_process.__file__ in each.cmdline())
    rows.close()
    assert not process.is_running()


def test_columns_of_any_type_come_as_they_are(tmp_path: Path):
    columns = {
        "text": pa.array(["a", None, "a"]).dictionary_encode(),
        "numbers": pa.array([[1.5], [], None], pa.large_list(pa.float32())),
        "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int8())),
        "bytes": pa.array([b"\x00", None, b"a"], pa.binary(1)),
        "nothing": pa.nulls(3),
        "decimal": pa.array([1, None, 2], pa.decimal128(5, 2)),
    }
    source = write(tmp_path, pa.table(columns))
    with parquet.ParquetFile(source) as file:
        expected = file.read().drop_columns(["numbers", "map"]).to_pylist()
    found = [value for _, value in parse_parquet(source)]
    assert [{name: row[name] for name in expected[0]} for row in found] == expected
    assert [(row["numbers"], row["map"]) for row in found] == [([1.5], [("k", 1)]), ([], []), (None, None)]


def test_two_columns_of_one_name_are_refused(tmp_path: Path):
    """Otherwise every row would silently lose one of the two."""
    table = pa.table([["a"], ["b"], ["c"]], names=["prompt", "completion", "completion"])
    with pytest.raises(DatasetInvalidError, match="name 'completion'; rename"):
        list(parse_parquet(write(tmp_path, table)))

"""Whatever comes in is refused with a sentence, or becomes rows that read back equal."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ftlab.errors import InvalidRequestError
from train.data.convert import DatasetFile, convert, normal_form
from train.data.rows.canonical import CanonicalFile
from train.data.rows.errors import DatasetInvalidError, RowError
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Shape

FILENAMES = ["a", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz", "a.csv.zst", "a.xlsx"]
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)

TURN = {"role": "assistant", "content": "y"}
GOOD = [
    {"messages": [{"role": "user", "content": "x"}, TURN]},
    {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]},
    {"instruction": "x", "output": "y"},
    {"prompt": "x", "completion": "y"},
    {"text": "x"},
    {"prompt": "x", "chosen": "y", "rejected": "z"},
    {"input": {"messages": [{"role": "user", "content": "x"}]}, "preferred_output": [TURN], "non_preferred_output": []},
    {"prompt": "x", "completion": "y", "label": True},
]
KEYS = sorted({key for row in GOOD for key in row} | {"role", "content", "from", "value", "weight", "tools", "system"})


def survives(folder: Path, content: bytes, filename: str, mapping: ColumnMapping, *, accept_partial: bool) -> None:
    """Convert `content`; compare what was written with what is read from the source again."""
    source, target = folder / "source", folder / "rows.arrow"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    try:
        done = convert(source, target, filename, mapping=mapping, accept_partial=accept_partial)
    except DatasetInvalidError:
        assert not target.exists()
        return
    finally:
        assert {file.name for file in folder.iterdir()} <= {"source", "rows.arrow"}
    file = DatasetFile(source, done.format)
    expected, reader = [], mapping.reader(is_table=file.is_table)
    for line, value in file.values():
        try:
            expected.append((line, normal_form(value, done.shape, mapping, reader)))
        except RowError:
            assert accept_partial
    with CanonicalFile.open(target) as file:
        found = [row for batch in file.batches() for row in batch]
        assert (file.kind, file.num_rows) == (done.kind, done.num_rows)
    assert found == expected
    assert found
    assert 0 <= done.confidence <= 1


mappings = st.builds(
    lambda shape, columns: (shape, columns),
    st.none() | st.sampled_from(Shape),
    st.none() | st.dictionaries(st.sampled_from(KEYS), st.sampled_from(KEYS), max_size=3),
)
pieces = st.sampled_from(
    [b'"', b"\\ud800", b"\xff", b"1e999", b"\xef\xbb\xbf", b"\n", b"\r\n", b"[", b"]", b",", b";", b"\t", b"{", b"NaN"]
    + [json.dumps(row).encode() for row in GOOD]
    + [json.dumps(row).encode() + b"\n" for row in GOOD]
    + [b"prompt,completion\n", b"x,y\n", b"text\n", b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"]
)


def mapping_of(given_mapping: tuple[Any, Any]) -> ColumnMapping:
    try:
        return ColumnMapping.parse(*given_mapping)
    except InvalidRequestError:
        return ColumnMapping()


@FUZZ
@given(
    content=st.lists(pieces | st.binary(max_size=5), max_size=12).map(b"".join),
    filename=st.sampled_from(FILENAMES),
    mapping=mappings,
    accept_partial=st.booleans(),
    pack=st.sampled_from([bytes, bytes, gzip.compress, lambda data: pa.compress(data, codec="zstd", asbytes=True)]),
)
@example(content=b"\xff\xfe\x00\x00", filename="a", mapping=(None, None), accept_partial=False, pack=bytes)
def test_any_bytes(tmp_path: Path, content: bytes, filename: str, mapping: Any, accept_partial: bool, pack: Any):
    survives(tmp_path, pack(content), filename, mapping_of(mapping), accept_partial=accept_partial)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["user", "x"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)
near_rows = st.builds(
    lambda row, key, value: row | {key: value}, st.sampled_from(GOOD), st.sampled_from(KEYS), values
) | st.sampled_from(GOOD)


@FUZZ
@given(
    rows=st.lists(near_rows | values, min_size=1, max_size=5),
    as_array=st.booleans(),
    mapping=mappings,
    accept_partial=st.booleans(),
)
def test_rows_that_are_nearly_right(
    tmp_path: Path, rows: list[Any], as_array: bool, mapping: Any, accept_partial: bool
):
    text = json.dumps(rows) if as_array else "\n".join(json.dumps(row) for row in rows)
    survives(tmp_path, text.encode(), "a.json", mapping_of(mapping), accept_partial=accept_partial)


@FUZZ
@given(
    cells=st.lists(st.lists(st.text(max_size=6), min_size=1, max_size=4), max_size=5),
    mark=st.sampled_from([",", "\t", ";"]),
    accept_partial=st.booleans(),
)
def test_any_table(tmp_path: Path, cells: list[list[str]], mark: str, accept_partial: bool):
    lines = [["prompt", "completion"], *cells]
    content = "\n".join(mark.join(line) for line in lines).encode("utf-8", "replace")
    filename = "a.tsv" if mark == "\t" else "a.csv"
    survives(tmp_path, content, filename, ColumnMapping(), accept_partial=accept_partial)


def parquet_bytes() -> bytes:
    sink = io.BytesIO()
    rows = [GOOD[0] | {"tools": json.dumps([{"name": "look"}])}] * 20
    parquet.write_table(pa.Table.from_pylist(rows), sink, row_group_size=7)
    return sink.getvalue()


@settings(FUZZ, max_examples=10)  # each starts processes
@given(
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=4)), max_size=3),
    cut=st.integers(0, 400),
    accept_partial=st.booleans(),
)
def test_any_damage_of_a_parquet_file(tmp_path: Path, changes: list[tuple[int, bytes]], cut: int, accept_partial: bool):
    content = bytearray(parquet_bytes())
    for place, change in changes:
        at = place % len(content)
        content[at : at + len(change)] = change
    kept = bytes(content[: len(content) - (cut - 300 if cut > 300 else 0)])
    survives(tmp_path, kept, "a.parquet", ColumnMapping(), accept_partial=accept_partial)


@pytest.mark.parametrize("filename", FILENAMES)
def test_a_name_alone_is_never_too_much(tmp_path: Path, filename: str):
    survives(tmp_path, b"\n", filename, ColumnMapping(), accept_partial=True)
    survives(tmp_path, b"", filename.upper(), ColumnMapping(), accept_partial=True)

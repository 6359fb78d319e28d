"""Small Parquet files whose rows are large: refused, or read in bounded memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from train.data.convert import convert
from train.data.formats import parquet as reading
from train.data.formats import parquet_batches
from train.data.formats.parquet import parse_parquet
from train.data.rows.errors import DatasetInvalidError, RowError, Rule

KIB, MIB = 1024, 1024**2
LONG = "x" * MIB
ROWS = [
    {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": "It is " + said}]}
    for said in ("up", "down", "", "up") * 50
]


@contextmanager
def at_most(num_bytes: int) -> Iterator[None]:
    """Fail where Arrow allocates more than this inside the block."""
    own, before = pa.proxy_memory_pool(pa.system_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(own)
    try:
        yield
    finally:
        pa.set_memory_pool(before)
    assert own.max_memory() <= num_bytes


def repeated(number: int, text: str = LONG) -> pa.DictionaryArray:
    """The same text `number` times, which takes a few bytes more than once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * number, pa.int32()), pa.array([text]))


def in_one_list(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def write(folder: Path, column: pa.Array, **options: Any) -> Path:
    source = folder / "source"
    parquet.write_table(pa.table({"text": column}), source, compression="zstd", store_schema=False, **options)
    return source


def test_a_text_that_many_rows_have(tmp_path: Path) -> None:
    source = write(tmp_path, repeated(3000))
    assert source.stat().st_size < 8 * KIB
    expected = r"Unpacked, the file is larger than 64 MiB.* \[too_large_unpacked\]"
    with at_most(100 * MIB), pytest.raises(DatasetInvalidError, match=expected):
        list(parse_parquet(source))


def test_a_text_that_one_row_has_many_times(tmp_path: Path) -> None:
    source = write(tmp_path, in_one_list(repeated(3000)))
    assert source.stat().st_size < 8 * KIB
    with at_most(20 * MIB), pytest.raises(DatasetInvalidError, match=r"\[too_large_unpacked\]"):
        list(parse_parquet(source))


def test_a_row_that_is_too_long_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_batches, "WORST_BATCH_BYTES", 8 * MIB)
    offsets = pa.array([0, 1, 41, 42], pa.int32())
    source = write(tmp_path, pa.ListArray.from_arrays(offsets, repeated(42)))
    with at_most(20 * MIB):
        found = [value for _, value in parse_parquet(source)]
    assert isinstance(found[1], RowError)
    assert (found[0], found[1].rule, found[2]) == ({"text": [LONG]}, Rule.ROW_TOO_LONG, {"text": [LONG]})


@pytest.mark.parametrize(
    "column",
    [
        pa.nulls(200_000, pa.string()),
        in_one_list(pa.nulls(200_000, pa.string())),
        pa.array([b"x" * 64 * KIB] * 80, pa.binary(64 * KIB)),
    ],
    ids=["rows of nulls", "a list of nulls", "long values of a fixed length"],
)
def test_what_the_footer_says_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: pa.Array) -> None:
    monkeypatch.setattr(reading, "MIN_UNPACKED_BYTES", MIB)
    source = write(tmp_path, column)
    with pytest.raises(DatasetInvalidError, match=r"\[too_large_unpacked\]"):
        next(parse_parquet(source))


def test_texts_that_begin_like_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_batches, "WORST_BATCH_BYTES", 4 * MIB)
    monkeypatch.setattr(reading, "MIN_UNPACKED_BYTES", 16 * MIB)
    texts = pa.array([LONG + str(number) for number in range(40)])
    options = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}
    source = write(tmp_path, in_one_list(texts), **options)
    expected = r"is encoded as DELTA_BYTE_ARRAY.* \[too_large_unpacked\]"
    with at_most(8 * MIB), pytest.raises(DatasetInvalidError, match=expected):
        list(parse_parquet(source))
    source = write(tmp_path, texts, **options)
    with at_most(12 * MIB), pytest.raises(DatasetInvalidError, match=r"Unpacked, .* \[too_large_unpacked\]"):
        list(parse_parquet(source))


@pytest.mark.parametrize("worst", [0, 2000, parquet_batches.WORST_BATCH_BYTES])
@pytest.mark.parametrize("is_dictionary", [True, False])
def test_rows_are_the_same_however_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worst: int, is_dictionary: bool
) -> None:
    monkeypatch.setattr(parquet_batches, "WORST_BATCH_BYTES", worst)
    parquet.write_table(
        pa.Table.from_pylist(ROWS), tmp_path / "source", use_dictionary=is_dictionary, row_group_size=90
    )
    assert [value for _, value in parse_parquet(tmp_path / "source")] == ROWS


def test_a_category_is_a_text(tmp_path: Path) -> None:
    column = pa.array(["good", "bad", None, "good"]).dictionary_encode()
    parquet.write_table(pa.table({"text": column}), tmp_path / "source")
    done = convert(tmp_path / "source", tmp_path / "rows.arrow", "a.parquet", accept_partial=True)
    assert (done.num_rows, done.num_skipped) == (3, 1)


def test_a_map_is_no_damage(tmp_path: Path) -> None:
    """Some programs write messages as maps; the rows are refused for what they are."""
    kind = pa.list_(pa.map_(pa.string(), pa.string()))
    column = pa.array([[[("role", "user"), ("content", "x")]]] * 3, kind)
    parquet.write_table(pa.table({"messages": column}), tmp_path / "source")
    with pytest.raises(DatasetInvalidError, match=r"row 1: messages\[1\] is not an object. \[wrong_type\]"):
        convert(tmp_path / "source", tmp_path / "rows.arrow", "a.parquet")

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.support.rows import read_rows
from train.data.convert import Conversion, convert
from train.data.formats import source
from train.data.rows.errors import DatasetInvalidError, Rule


def row_of(number: int) -> dict[str, str]:
    return {"prompt": f"question {number}", "completion": f"answer {number * 7919}"}


def lines_of(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


ROWS = [row_of(number) for number in range(2000)]
LINES = lines_of(ROWS)


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def convert_bytes(folder: Path, content: bytes, filename: str, *, accept_partial: bool = False) -> Conversion:
    file = folder / "source"
    file.write_bytes(content)
    return convert(file, folder / "rows.arrow", filename, accept_partial=accept_partial)


def refusal(folder: Path, content: bytes, filename: str) -> str:
    with pytest.raises(DatasetInvalidError) as caught:
        convert_bytes(folder, content, filename)
    assert [file.name for file in folder.iterdir()] == ["source"]
    return caught.value.message


def contents(folder: Path) -> list[str]:
    return [row["messages"][0]["content"] for row in read_rows(folder / "rows.arrow")]


def as_format(file_format: str, folder: Path) -> bytes:
    if file_format == "parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), folder / "t.parquet")
        data = (folder / "t.parquet").read_bytes()
        (folder / "t.parquet").unlink()
        return data
    if file_format == "json":
        return json.dumps(ROWS).encode()
    if file_format == "jsonl":
        return LINES
    mark = {"csv": ",", "tsv": "\t"}[file_format]
    return "".join(mark.join(row) + "\n" for row in [ROWS[0].keys(), *(row.values() for row in ROWS)]).encode()


@pytest.mark.parametrize("file_format", ["jsonl", "json", "csv", "tsv", "parquet"])
@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".zst", zstd)])
def test_every_format_plain_and_compressed(
    tmp_path: Path, file_format: str, ending: str, pack: Callable[[bytes], bytes]
):
    content = pack(as_format(file_format, tmp_path))
    done = convert_bytes(tmp_path, content, f"Notes.{file_format}{ending}".upper())
    assert (done.format, done.num_rows) == (file_format, 2000)
    assert contents(tmp_path) == [row["prompt"] for row in ROWS]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rows.arrow", "source"]


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_the_first_bytes_tell_the_compression_and_parts_follow_one_another(
    tmp_path: Path, pack: Callable[[bytes], bytes]
):
    assert convert_bytes(tmp_path, pack(LINES) + pack(LINES), "notes.jsonl").num_rows == 4000
    assert convert_bytes(tmp_path, LINES, "notes.jsonl.gz").num_rows == 2000
    assert convert_bytes(tmp_path, pack(LINES), "notes").num_rows == 2000
    assert refusal_of_more(tmp_path, pack(pack(LINES))) == "The file is compressed twice; unpack it once."


def refusal_of_more(folder: Path, content: bytes) -> str:
    (folder / "rows.arrow").unlink()
    return refusal(folder, content, "notes.jsonl.gz")


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("file_format", ["jsonl", "json", "csv"])
def test_a_compressed_file_that_is_cut_off_is_usable_up_to_the_break(
    tmp_path: Path, pack: Callable[[bytes], bytes], file_format: str, monkeypatch: pytest.MonkeyPatch
):
    # More than the 128 KiB that zstd packs at once.
    monkeypatch.setattr(f"{__name__}.ROWS", rows := [*ROWS, *map(row_of, range(2000, 20_000))])
    content = pack(as_format(file_format, tmp_path) if file_format != "jsonl" else lines_of(rows))
    cut = content[: len(content) * 3 // 4]
    message = refusal(tmp_path, cut, f"notes.{file_format}.gz")
    assert "The compressed file ends too early: it is cut off. [cut_off]" in message
    done = convert_bytes(tmp_path, cut, f"notes.{file_format}.gz", accept_partial=True)
    assert 5_000 < done.num_rows < 20_000
    assert (done.num_skipped, done.problems[0].rule) == (1, Rule.CUT_OFF)
    assert contents(tmp_path) == [row["prompt"] for row in rows[: done.num_rows]]


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_damaged_compressed_file_is_named(tmp_path: Path, pack: Callable[[bytes], bytes]):
    content = bytearray(pack(LINES))
    content[len(content) // 2 : len(content) // 2 + 50] = b"\xff" * 50
    message = refusal(tmp_path, bytes(content), "notes.jsonl.gz")
    assert any(rule in message for rule in ("[damaged_file]", "[broken_json]", "[cut_off]"))
    assert refusal(tmp_path, bytes(content[:9]), "notes.jsonl.gz").endswith("[cut_off]")


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_bomb_is_refused_before_it_fills_the_disk(
    tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(source, "MIN_UNPACKED_BYTES", 1024**2)
    for file_format in ("jsonl", "json", "csv"):
        bomb = pack(as_format(file_format, tmp_path) + b"\n" * 4 * 1024**2)
        message = refusal(tmp_path, bomb, f"notes.{file_format}.gz")
        assert "Unpacked, the file is larger than " in message
        assert "at most 200 times its size and 64 GiB are unpacked. [too_large_unpacked]" in message
    monkeypatch.setattr(source, "MAX_UNPACKED_BYTES", 4096)
    assert "[too_large_unpacked]" in refusal(tmp_path, pack(LINES), "notes.jsonl.gz")


def test_what_is_no_parquet_file_is_not_taken_for_one(tmp_path: Path):
    assert refusal(tmp_path, LINES, "a.parquet") == "The file's name ends in .parquet, but it is not a Parquet file."
    content = as_format("parquet", tmp_path)
    assert convert_bytes(tmp_path, content, "a.jsonl").format == "parquet"

"""A ShareGPT array as large as real ones, whole and cut off in the middle of a record."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from train.data.convert import convert
from train.data.rows.canonical import CanonicalFile
from train.data.rows.errors import DatasetInvalidError

MEMORY_GROWTH_MIB = 50
"""A window of 1 MiB, a batch of rows on its way to the disk, and what the allocators keep."""

_CONVERT = """
import resource, sys
from pathlib import Path
from train.data.convert import convert

small, large, target = map(Path, sys.argv[1:])
convert(small, target, "small.json")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
done = convert(large, target, "large.json")
print(done.num_rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def write_sharegpt(path: Path, size_bytes: int) -> int:
    """Write one array as pretty-printing tools do, and conversations of all lengths; return the number of rows."""
    draw = random.Random(7)
    words = [
        "the",
        "naïve",
        "Straße",
        "量子",
        "😀",
        '"quoted"',
        "line\nbreak",
        "back\\slash",
        "plain",
        "text",
        "of",
        "words",
    ]
    num_rows = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("[\n")
        while file.tell() < size_bytes:
            turns = [
                {"from": speaker, "value": " ".join(draw.choices(words, k=draw.randint(5, 400)))}
                for speaker in ("human", "gpt") * draw.randint(1, 6)
            ]
            row = {"id": f"chat_{num_rows}", "conversations": turns}
            file.write(",\n" if num_rows else "")
            file.write(json.dumps(row, indent=2, ensure_ascii=num_rows % 2 == 0))
            num_rows += 1
        file.write("\n]\n")
    return num_rows


SIZES = [5_000_000, pytest.param(120_000_000, marks=pytest.mark.slow)]


@pytest.fixture
def sharegpt(tmp_path: Path) -> Callable[[int], tuple[Path, int]]:
    def make(size_bytes: int) -> tuple[Path, int]:
        path = tmp_path / "sharegpt.json"
        return path, write_sharegpt(path, size_bytes)

    return make


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_whole_array_is_read_in_constant_memory(
    tmp_path: Path, sharegpt: Callable[[int], tuple[Path, int]], size_bytes: int
):
    path, num_rows = sharegpt(size_bytes)
    write_sharegpt(tmp_path / "small.json", 2_000_000)
    target = tmp_path / "rows.arrow"
    command = [sys.executable, "-c", _CONVERT, str(tmp_path / "small.json"), str(path), str(target)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) == num_rows
    assert int(out[1]) < MEMORY_GROWTH_MIB
    last = json.loads(path.read_text(encoding="utf-8"))[-1]["conversations"]
    with CanonicalFile.open(target) as file:
        line, row = file.row(num_rows - 1)
    assert line == num_rows
    assert [message["content"] for message in row["messages"]] == [turn["value"] for turn in last]


@pytest.mark.parametrize("size_bytes", SIZES)
def test_an_array_that_is_cut_off_in_a_record_is_usable_up_to_there(
    tmp_path: Path, sharegpt: Callable[[int], tuple[Path, int]], size_bytes: int
):
    path, _ = sharegpt(size_bytes)
    data = path.read_bytes()
    begin = data.index(b"\n{", size_bytes * 2 // 3) + 1
    cut = data.index(b'"value"', begin) + 20
    path.write_bytes(data[:cut])
    before = data[:cut].decode("utf-8", "ignore")
    num_rows = before.count("\n{") - 1
    first_line = data.count(b"\n", 0, begin) + 1
    last_line, column = before.count("\n") + 1, len(before) - before.rindex("\n")
    sentence = (
        f"row {num_rows + 1}: The file is cut off: it ends at line {last_line}, column {column}, inside row "
        f"{num_rows + 1}, which begins at line {first_line}, column 1. [cut_off]"
    )
    with pytest.raises(DatasetInvalidError) as caught:
        convert(path, tmp_path / "rows.arrow", "sharegpt.json")
    assert caught.value.message.startswith(f"The dataset has 1 problem:\n{sentence}\nTo keep the {num_rows} valid rows")
    done = convert(path, tmp_path / "rows.arrow", "sharegpt.json", accept_partial=True)
    assert (done.num_rows, done.num_skipped, str(done.problems[0])) == (num_rows, 1, sentence)
    with CanonicalFile.open(tmp_path / "rows.arrow") as file:
        assert file.num_rows == num_rows

"""How fast an uploaded file becomes canonical rows: 100,000 chat rows of about 1 kB, in each format.

    python -m tests.bench.conversion_speed [--rows 100000]

Processor time is told beside the clock, since the clock also counts how long the disk takes to make the file safe.
"""

import argparse
import csv
import gzip
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from train.data.convert import convert

NAMES = ("rows.jsonl", "rows.json", "rows.csv", "rows.parquet", "rows.jsonl.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast an uploaded file becomes canonical rows.")
    parser.add_argument("--rows", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), given.rows)
        for name in NAMES:
            clock_s, processor_s = measure(Path(folder) / name)
            rates = [f"{given.rows / seconds:,.0f} rows/s" for seconds in (clock_s, processor_s)]
            print(f"{name:15} {clock_s:6.2f} s, {rates[0]}; processor {processor_s:6.2f} s, {rates[1]}")


def write_files(folder: Path, num_rows: int) -> None:
    """The same prompts and completions in every format."""
    draw = random.Random(1)
    words = [f"word{number}" for number in range(5000)]
    pairs = [(" ".join(draw.choices(words, k=40)), " ".join(draw.choices(words, k=100))) for _ in range(num_rows)]
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]}
        for prompt, completion in pairs
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines)
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(lines.encode(), 4))
    (folder / "rows.json").write_text(json.dumps(rows))
    parquet.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", compression="zstd")
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("prompt", "completion"), *pairs])


def measure(path: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processor that a conversion takes."""
    started, used = time.perf_counter(), time.process_time()
    convert(path, path.with_name("canonical.arrow"), path.name)
    return time.perf_counter() - started, time.process_time() - used


if __name__ == "__main__":
    main()

"""The doctor against the tokenizer alone: 100,000 chat rows of about 200 tokens.

    python -m tests.bench.doctor_speed [--rows 100000] [--pairs 5]

A pair times `encode_batch` of the rendered rows, 1,000 at a time, and the whole check of the same rows from their file.
The goal is a ratio of at most 1.5. Processor time is told as well: it depends less on what else the machine does.
Memory is how much this process grows during a check, after a small first one.
"""

import argparse
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.support.tiny_models import TEXT, make_tiny_tokenizer
from train.data.doctor import CheckOptions, examine
from train.data.rows.canonical import CanonicalFile, Kind, write_canonical
from train.data.tokens.render import Renderer

BATCH_ROWS = 1000
GOAL = 1.5
SYLLABLES = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "ist")]
POLL_S = 0.02
OPTIONS = CheckOptions(max_length=1024)


def main() -> None:
    parser = argparse.ArgumentParser(description="The doctor against the tokenizer alone.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    tokenizer = make_tiny_tokenizer(vocab_size=2000)
    with tempfile.TemporaryDirectory() as folder:
        path = write_rows(Path(folder) / "rows.arrow", given.rows)
        examine(write_rows(Path(folder) / "few.arrow", 2 * BATCH_ROWS), tokenizer, OPTIONS)
        with growth() as grown:
            examine(path, tokenizer, OPTIONS)
        texts = rendered(path, tokenizer)
        ratios = [measure(path, texts, tokenizer) for _ in range(given.pairs)]
    print(f"median ratio {statistics.median(ratios):.2f}, goal {GOAL}")
    print(f"memory grew by {grown[0] / 2**20:.0f} MiB during a check of {given.rows:,} rows")


def write_rows(path: Path, number: int) -> Path:
    rng = random.Random(0)
    words = [*TEXT.split(), *("".join(rng.choices(SYLLABLES, k=rng.randint(1, 3))) for _ in range(5000))]
    with write_canonical(path, Kind.MESSAGES) as out:
        for line in range(1, number + 1):
            question, answer = (" ".join(rng.choices(words, k=length)) for length in (20, 28))
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            out.write(line, {"messages": messages})
    return path


def rendered(path: Path, tokenizer: Any) -> list[str]:
    renderer = Renderer(tokenizer, assistant_only_loss=True)
    with CanonicalFile.open(path) as file:
        return [renderer.render(line, row).text for rows in file.batches() for line, row in rows]


def measure(path: Path, texts: list[str], tokenizer: Any) -> float:
    """Time both; return how many times as long the doctor takes."""
    backend = tokenizer.backend_tokenizer
    started, busy = time.perf_counter(), time.process_time()
    num_tokens = 0
    for start in range(0, len(texts), BATCH_ROWS):
        encodings = backend.encode_batch(texts[start : start + BATCH_ROWS], add_special_tokens=False)
        num_tokens += sum(map(len, encodings))
    tokenizer_s, tokenizer_busy_s = time.perf_counter() - started, time.process_time() - busy
    started, busy = time.perf_counter(), time.process_time()
    report = examine(path, tokenizer, OPTIONS)
    doctor_s, doctor_busy_s = time.perf_counter() - started, time.process_time() - busy
    assert report.tokens_per_epoch == num_tokens, "both read the same"
    print(
        f"{len(texts):,} rows of {num_tokens / len(texts):.0f} tokens: encode_batch {tokenizer_s:.1f} s, "
        f"doctor {doctor_s:.1f} s, ratio {doctor_s / tokenizer_s:.2f}, "
        f"of processor time {doctor_busy_s / tokenizer_busy_s:.2f}",
        flush=True,
    )
    return doctor_s / tokenizer_s


@contextmanager
def growth() -> Iterator[list[int]]:
    """Gives a list that holds the bytes by which this process grew at most, when the block has ended."""
    process, over = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not over.wait(POLL_S):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    grown: list[int] = []
    try:
        yield grown
    finally:
        over.set()
        watcher.join()
        grown.append(most - before)


if __name__ == "__main__":
    main()

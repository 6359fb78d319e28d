"""Row 2: how much of what is computed is tokens, with packing, against batches that are padded.

Counted from the manifests of prepared data, so nothing is trained and no time is measured. Nothing may be dropped.
"""

import math
import random
from pathlib import Path

import serve
from ftlab.schemas.methods import SftMethod
from ftlab.schemas.training import TrainingConfig
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Goal, Measurement
from tests.support.tiny_models import make_tiny_tokenizer
from train.data.convert import convert
from train.data.rows.canonical import Kind, write_canonical
from train.data.tokens.prepare import Counts, PrepareSpec, prepare_rows

ROW = 2
TITLE = "useful tokens"
NEEDS_SERVICE = False

NUM_ROWS, NUM_ROWS_QUICK = 20_000, 4_000
MEDIAN_WORDS, SPREAD = 33, 1.0
"""Of answers whose length is log-normal, as those of chats are."""
DEMO = Path(serve.__file__).parent / "demo" / "data" / "support-train.jsonl"
BATCH_SIZE = str(TrainingConfig().per_device_train_batch_size)


def run(bench: Bench) -> list[Measurement]:
    folder = bench.folder / "useful-tokens"
    make_tiny_tokenizer().save_pretrained(folder / "tokenizer")
    num_rows = NUM_ROWS_QUICK if bench.quick else NUM_ROWS
    chats = _write_chats(folder / "chats.arrow", num_rows)
    demo = folder / "demo.arrow"
    convert(DEMO, demo, DEMO.name)
    return [_measure(folder, chats, f"{num_rows:,} chats"), _measure(folder, demo, "the demo's rows")]


def _measure(folder: Path, rows: Path, name: str) -> Measurement:
    padded, packed = (_prepare(folder, rows, packing=packing) for packing in (False, True))
    if packed.num_dropped_tokens or packed.num_tokens != padded.num_tokens + padded.num_dropped_tokens:
        raise BenchError(f"Packing has lost tokens of {name}.")
    note = (
        f"batches of {BATCH_SIZE} rows of at most {SftMethod().max_length} tokens; packed into "
        f"{packed.num_sequences:,} rows, padded {padded.num_sequences:,}"
    )
    return Measurement(
        ROW,
        f"tokens / places computed, {name}",
        "",
        [packed.useful_fraction[BATCH_SIZE]],
        [padded.useful_fraction[BATCH_SIZE]],
        is_higher_better=True,
        floor=[Goal(0.95, "ours")],
        target=[Goal(0.995, "ours")],
        note=note,
    )


def _prepare(folder: Path, rows: Path, *, packing: bool) -> Counts:
    spec = PrepareSpec.of(rows, folder / "tokenizer", SftMethod(packing=packing))
    prepared = prepare_rows(spec, folder / "cache", make_tiny_tokenizer)
    prepared.close()
    return prepared.counts


def _write_chats(file: Path, count: int) -> Path:
    drawn = random.Random(0)
    with write_canonical(file, Kind.MESSAGES) as out:
        for line in range(1, count + 1):
            words = 1 + int(drawn.lognormvariate(math.log(MEDIAN_WORDS), SPREAD))
            messages = [
                {"role": "user", "content": "What happens next?"},
                {"role": "assistant", "content": "queue " * words},
            ]
            out.write(line, {"messages": messages})
    return file

"""Rows for the doctor, and a call of it."""

import random
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from ftlab.schemas.checks import CheckReport
from tests.support.tiny_models import make_tiny_tokenizer
from train.data.doctor import CheckOptions, EvalRows, examine
from train.data.rows.canonical import Kind, write_canonical

Row = dict[str, Any]
FIRST_LINE = 11
"""Of the first row in the uploaded file."""
WORDS = (
    "queue", "device", "checkpoint", "adapter", "schedule", "position", "weight", "loss", "model", "batch", "resume",
    "pause", "upload", "config",
)  # fmt: skip


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def answer(text: str, **more: Any) -> Row:
    return {"role": "assistant", "content": text, **more}


def chat(question: str, reply: str, **more: Any) -> Row:
    return {"messages": [user(question), answer(reply, **more)]}


def sentence(rng: random.Random, num_words: int) -> str:
    return " ".join(rng.choice(WORDS) + str(rng.randrange(10_000)) for _ in range(num_words))


def chats(number: int, *, seed: int = 0, num_words: int = 12) -> list[Row]:
    """Rows that have nothing in common."""
    rng = random.Random(seed)
    return [chat(sentence(rng, num_words), sentence(rng, num_words)) for _ in range(number)]


def write(path: Path, rows: list[Row], kind: Kind = Kind.MESSAGES) -> Path:
    with write_canonical(path, kind) as out:
        for line, row in enumerate(rows, FIRST_LINE):
            out.write(line, row)
    return path


def check(
    folder: Path,
    rows: list[Row],
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    kind: Kind = Kind.MESSAGES,
    eval_rows: list[Row] | None = None,
    max_length: int = 1024,
    **options: Any,
) -> CheckReport:
    held_out = None if eval_rows is None else EvalRows("ds-eval", write(folder / "eval.arrow", eval_rows, kind))
    return examine(
        write(folder / "rows.arrow", rows, kind),
        tokenizer or make_tiny_tokenizer(),
        CheckOptions(max_length, **options),
        eval_rows=held_out,
    )

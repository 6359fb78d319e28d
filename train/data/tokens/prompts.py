"""Prompts and reference answers of rows, for methods that generate the answers themselves.

The last answer of a conversation is the reference, and everything before it the prompt, rendered and tokenised as at
inference. A row that is only a prompt has no reference.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftlab.files import sync
from train.data.rows.canonical import Message, Row
from train.data.tokens.arrow_rows import DATA_FILE
from train.data.tokens.encode import Tokens, backend_of, encode_text
from train.data.tokens.pack import Lengths
from train.data.tokens.render import RenderedRow, Renderer

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1000
ANY_ANSWER = {"role": "assistant", "content": "Yes."}
"""Follows a prompt without an answer, so that it is rendered as one with an answer is, up to the answer."""


@dataclass(frozen=True)
class Prompt:
    number: int
    """Number of the row in its dataset, from 1."""
    ids: Tokens
    reference: str | None
    """`None` where the row's answer is blank, or the row has none."""


def prompts(
    lines: Iterable[tuple[int, Row]], renderer: Renderer, numbers: Iterable[int] | None = None
) -> Iterator[Prompt | None]:
    """The prompt of each row; `None` for a row without an answer at its end.

    `numbers` are those of the rows in their dataset, by default from 1. Raise what `Renderer.render` raises.
    """
    backend = backend_of(renderer.tokenizer)
    for number, (_, row) in zip(count(1) if numbers is None else numbers, lines, strict=False):
        messages = row["messages"] if "messages" in row else [*row["prompt"], ANY_ANSWER]
        place = answer_place(messages)
        if not place:
            # A conversation that begins with its only answer has no prompt.
            yield None
            continue
        text = rendered_prompt(number, row, messages[: place + 1], renderer)
        ids = np.asarray(encode_text(text, backend).ids, dtype=np.int32)
        yield Prompt(number, ids, reference_of(row))


def reference_of(row: Row) -> str | None:
    """The reference answer of a row; `None` where its last answer is blank, or it has none."""
    messages = row.get("messages", [])
    answer = messages[place]["content"] if (place := answer_place(messages)) else None
    return answer if answer and answer.strip() else None


def has_prompt(row: Row) -> bool:
    """Whether a message of the row comes before its last answer."""
    return "prompt" in row or answer_place(row.get("messages", [])) > 0


def answer_place(messages: Sequence[Message]) -> int:
    """Place of the last answer; 0 where there is none, or nothing comes before it."""
    return max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=0)


def rendered_prompt(number: int, row: Row, messages: list[Message], renderer: Renderer) -> RenderedRow:
    """What the model reads before it writes the last of the `messages`. Raise what `Renderer.render` raises."""
    if renderer.template.origin != "none":
        return RenderedRow(renderer.render_prompt(number, messages[:-1], row.get("tools")), [])
    context = [each | {"weight": 0} if each["role"] == "assistant" else each for each in messages[:-1]]
    rendered = renderer.render(number, row | {"messages": [*context, messages[-1] | {"weight": 1}]})
    return RenderedRow(rendered.text[: rendered.spans[-1][0]], [], bos=rendered.bos)


def write_prompts(rows: Iterable[Prompt], folder: Path) -> Lengths:
    """Write prompts and reference answers; return the lengths of the prompts (rows x 1)."""
    import pyarrow as pa

    schema = pa.schema([("prompt_ids", pa.list_(pa.int32())), ("reference", pa.string())])
    file = folder / DATA_FILE
    lengths: list[int] = []
    waiting: list[Prompt] = []
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, schema) as writer:
        for row in rows:
            lengths.append(len(row.ids))
            waiting.append(row)
            if len(waiting) == BATCH_ROWS:
                writer.write_batch(_batch(waiting, schema))
                waiting = []
        if waiting:
            writer.write_batch(_batch(waiting, schema))
    sync(file)
    return np.asarray(lengths, dtype=np.int64).reshape(-1, 1)


def _batch(rows: list[Prompt], schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    ids = pa.array([row.ids for row in rows], type=pa.list_(pa.int32()))
    return pa.record_batch([ids, pa.array([row.reference for row in rows], type=pa.string())], schema=schema)

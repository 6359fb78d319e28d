"""The rows of an evaluation: what a model is asked, what it should answer, and why a row cannot be measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import InvalidRequestError
from train.data.rows.canonical import CanonicalFile, Row
from train.data.tokens.encode import Tokens, labelled, num_taught, tokenise
from train.data.tokens.prompts import Prompt, prompts, reference_of
from train.data.tokens.render import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Skip(StrEnum):
    """Why a row has no score."""

    NO_PROMPT = "no_prompt"
    """Nothing comes before its answer."""
    NO_REFERENCE = "no_reference"
    """It has no answer to compare with."""
    TEMPLATE_REFUSED = "template_refused"
    """The chat template of the model cannot write it."""
    PROMPT_TOO_LONG = "prompt_too_long"
    """Its prompt leaves no room for `generation.max_new_tokens` in the positions of the model."""
    NO_COUNTED_TOKEN = "no_counted_token"
    """No token of an answer is left within `max_length`."""
    NO_SCORE = "no_score"
    """The task gives it no score for this metric."""
    JUDGE_UNREADABLE = "judge_unreadable"
    """The reply of the judge is not the JSON object that it was asked for, or its score is not on the scale."""
    JUDGE_REFUSED = "judge_refused"
    """The judge refused the request, for example because it is too long."""


@dataclass(frozen=True)
class Case:
    """A row of the dataset."""

    number: int
    """Number in the dataset, from 1."""
    line: int
    """Number of the line in the uploaded file."""
    row: Row

    @property
    def reference(self) -> str | None:
        return reference_of(self.row)

    @property
    def question(self) -> str:
        """The last message before the answer, or the text itself."""
        messages = self.row.get("messages") or self.row.get("prompt")
        if not messages:
            return str(self.row.get("text", ""))
        asked = [message["content"] for message in messages if message["role"] != "assistant"]
        return str(asked[-1]) if asked else ""


def read_cases(file: Path, max_rows: int | None) -> list[Case]:
    """The first rows of a file. Raises what `CanonicalFile.open` raises."""
    with CanonicalFile.open(file) as source:
        rows = islice(source.rows(), max_rows)
        return [Case(number, line, row) for number, (line, row) in enumerate(rows, 1)]


def prompt_of(case: Case, renderer: Renderer, longest: int | None) -> Prompt | Skip:
    """What a model reads before it answers the row; `longest` is the most tokens that leave room for the answer."""
    try:
        [prompt] = prompts([(case.line, case.row)], renderer, [case.number])
    except InvalidRequestError:
        return Skip.TEMPLATE_REFUSED
    if prompt is None or not len(prompt.ids):
        return Skip.NO_PROMPT
    return Skip.PROMPT_TOO_LONG if longest is not None and len(prompt.ids) > longest else prompt


def labelled_texts(
    cases: Sequence[Case], tokenizer: "PreTrainedTokenizerBase", max_length: int, *, assistant_only_loss: bool
) -> dict[int, tuple[Tokens, Tokens] | Skip]:
    """The tokens and labels of each row by its number, exactly as training counts them."""
    renderer = Renderer(tokenizer, assistant_only_loss=assistant_only_loss)
    found: dict[int, tuple[Tokens, Tokens] | Skip] = {}

    def refuse(number: int, _line: int, _error: InvalidRequestError) -> None:
        found[number] = Skip.TEMPLATE_REFUSED

    lines, numbers = [(case.line, case.row) for case in cases], [case.number for case in cases]
    for rows in tokenise(lines, renderer, max_length=max_length, numbers=numbers, on_refusal=refuse):
        for row in rows:
            if row.number in found:
                continue
            texts = labelled(row, max_length)
            found[row.number] = texts[0] if num_taught(texts) else Skip.NO_COUNTED_TOKEN
    return found

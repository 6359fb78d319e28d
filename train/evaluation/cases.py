"""The rows of an evaluation: what a model is asked, what it should answer, and why a row cannot be measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import InvalidRequestError
from ftlab.schemas.evaluation import Perplexity
from train.data.rows.canonical import CanonicalFile, Row
from train.data.tokens.encode import Tokens, labelled, num_taught, tokenise
from train.data.tokens.prompts import Prompt, prompts, reference_of
from train.data.tokens.render import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LabelledText = tuple[Tokens, Tokens]
"""Ids and labels."""


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
    return _if_short(prompt, longest)


def _if_short(prompt: Prompt | Skip, longest: int | None) -> Prompt | Skip:
    is_long = isinstance(prompt, Prompt) and longest is not None and len(prompt.ids) > longest
    return Skip.PROMPT_TOO_LONG if is_long else prompt


def _reading(metric: Perplexity) -> tuple[int, bool]:
    """The settings that decide the tokens and labels."""
    return metric.max_length, metric.assistant_only_loss


class ReadRows:
    """What one model reads of the rows. Rows that were read for the estimate are not rendered and tokenised again."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self._renderer = Renderer(tokenizer, assistant_only_loss=True)
        self._texts: dict[tuple[int, bool], dict[int, LabelledText | Skip]] = {}
        self._prompts: dict[int, Prompt | Skip] = {}

    def look_at_texts(self, cases: Sequence[Case], metric: Perplexity) -> list[LabelledText]:
        """The texts of some rows, which are kept until they are taken."""
        texts = self.take_texts(cases, metric)
        self._texts.setdefault(_reading(metric), {}).update(texts)
        return [text for text in texts.values() if not isinstance(text, Skip)]

    def take_texts(self, cases: Sequence[Case], metric: Perplexity) -> dict[int, LabelledText | Skip]:
        """The tokens and labels of each row by its number, exactly as training counts them."""
        kept = self._texts.get(_reading(metric), {})
        found = {case.number: kept.pop(case.number) for case in cases if case.number in kept}
        missing = [case for case in cases if case.number not in found]
        options = {"assistant_only_loss": metric.assistant_only_loss}
        found |= labelled_texts(missing, self._tokenizer, metric.max_length, **options)
        return {case.number: found[case.number] for case in cases}

    def look_at_prompts(self, cases: Sequence[Case]) -> list[Prompt]:
        """The prompts of some rows, which are kept until they are taken."""
        self._prompts = self.take_prompts(cases, None)
        return [prompt for prompt in self._prompts.values() if isinstance(prompt, Prompt)]

    def take_prompts(self, cases: Sequence[Case], longest: int | None) -> dict[int, Prompt | Skip]:
        """What the model reads before it answers each row, by its number; `longest` is as in `prompt_of`."""
        kept = {number: _if_short(prompt, longest) for number, prompt in self._prompts.items()}
        self._prompts = {}
        return {
            case.number: kept[case.number] if case.number in kept else prompt_of(case, self._renderer, longest)
            for case in cases
        }


def labelled_texts(
    cases: Sequence[Case], tokenizer: "PreTrainedTokenizerBase", max_length: int, *, assistant_only_loss: bool
) -> dict[int, LabelledText | Skip]:
    """The tokens and labels of each row by its number, exactly as training counts them."""
    renderer = Renderer(tokenizer, assistant_only_loss=assistant_only_loss)
    found: dict[int, LabelledText | Skip] = {}

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

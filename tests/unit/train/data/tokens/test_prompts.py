"""Prompts of rows with and without answers."""

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tests.support.rows import read_rows
from tests.support.tiny_models import make_tiny_tokenizer
from train.data.convert import convert
from train.data.rows.canonical import Row
from train.data.tokens.prompts import Prompt, prompts
from train.data.tokens.render import Renderer
from train.data.tokens.token_view import token_rows

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Where is it?"}
TURNS = [USER, {"role": "assistant", "content": "Here."}, {"role": "user", "content": "And that?"}]


@pytest.fixture(params=["chat template", "no template"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    tokenizer = make_tiny_tokenizer()
    if request.param == "no template":
        tokenizer.chat_template = None
    return tokenizer


def uploaded(folder: Path, row: str) -> Row:
    (folder / "source").write_text(row, "utf-8")
    convert(folder / "source", folder / "rows.arrow", "a.jsonl")
    [found] = read_rows(folder / "rows.arrow")
    return found


def prompt_of(row: Row, tokenizer: PreTrainedTokenizerFast) -> Prompt:
    [found] = prompts([(1, row)], Renderer(tokenizer, assistant_only_loss=True))
    assert found is not None
    return found


def test_rows_keep_the_numbers_that_they_have_in_their_dataset(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [(1, {"prompt": [USER]}), (2, {"prompt": TURNS})]
    found = prompts(rows, Renderer(tokenizer, assistant_only_loss=True), numbers=[3, 7])
    assert [prompt and prompt.number for prompt in found] == [3, 7]


@pytest.mark.parametrize("prompt", [[USER], [SYSTEM, USER], TURNS])
def test_a_prompt_has_the_tokens_that_it_has_before_an_answer(
    tokenizer: PreTrainedTokenizerFast, prompt: list[dict[str, Any]]
) -> None:
    answered = prompt_of({"messages": [*prompt, {"role": "assistant", "content": "Over there, far away."}]}, tokenizer)
    alone = prompt_of({"prompt": prompt}, tokenizer)
    assert alone.ids.tolist() == answered.ids.tolist()
    assert (alone.reference, answered.reference) == (None, "Over there, far away.")


def test_a_prompt_as_a_text_is_that_of_a_prompt_and_a_completion(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    alone = prompt_of(uploaded(tmp_path, '{"prompt": "The capital is"}'), tokenizer)
    [shown] = token_rows(tmp_path / "rows.arrow", tokenizer, number=1, max_length=512, assistant_only_loss=True)
    assert [token.id for token in shown.tokens] == alone.ids.tolist()
    assert (shown.num_trained, shown.num_tokens) == (0, len(alone.ids))
    answered = prompt_of(uploaded(tmp_path, '{"prompt": "The capital is", "completion": " Paris"}'), tokenizer)
    assert alone.ids.tolist() == answered.ids.tolist()

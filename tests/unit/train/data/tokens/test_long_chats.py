"""Long conversations are read as short ones are, with less work where their ends are cut off."""

import random
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from ftlab.errors import InvalidRequestError
from tests.support.rows import EncodedRow, encode
from tests.support.tiny_models import CHAT_TEMPLATE, make_tiny_tokenizer
from tests.unit.train.data.tokens.test_chat_template import MARKED, REWRITING, TRICKY, every_family, trl_templates
from train.data.rows.errors import DatasetInvalidError
from train.data.tokens import render
from train.data.tokens.chat_template import ChatTemplate
from train.data.tokens.render import Renderer

TOOL = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "look", "arguments": {}}}
NO_ROW_IS_LONG = 10**9
TEMPLATES = {"tiny": CHAT_TEMPLATE, "marked": MARKED, "rewriting": REWRITING} | {
    family: (trl_templates() / f"{family}.jinja").read_text() for family in every_family()
}


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = make_tiny_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    return tokenizer


def talk(rng: random.Random, num_messages: int) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    messages: list[dict[str, Any]] = [
        {"role": roles[number % 2], "content": rng.choice(TRICKY)} for number in range(num_messages)
    ]
    for message in messages[1::2]:
        if rng.random() < 0.2:
            message["weight"] = 0
    return messages


def tried(
    tokenizer: PreTrainedTokenizerFast, row: dict[str, Any], max_length: int | None, *, only: bool
) -> EncodedRow | str:
    try:
        (found,) = encode([row], tokenizer, max_length=max_length, assistant_only_loss=only)
    except InvalidRequestError as error:
        return error.code
    except DatasetInvalidError as error:
        return error.message
    return found


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("only", [True, False])
def test_a_row_that_is_cut_has_the_labels_that_it_has_when_all_turns_are_found(
    tokenizer: PreTrainedTokenizerFast, name: str, only: bool, monkeypatch: pytest.MonkeyPatch
):
    tokenizer.chat_template = TEMPLATES[name]
    rng = random.Random(name)
    for _ in range(3):
        row: dict[str, Any] = {"messages": talk(rng, rng.randrange(5, 14))}
        if rng.random() < 0.3:
            row["messages"][3] |= {"tool_calls": [CALL]}
        if rng.random() < 0.5:
            row["tools"] = [TOOL]
        for max_length in (None, 1, rng.randrange(2, 200), rng.randrange(100, 400)):
            found = []
            for many in (4, NO_ROW_IS_LONG):
                monkeypatch.setattr(render, "MANY_MESSAGES", many)
                found.append(tried(tokenizer, row, max_length, only=only))
            # What only the lost part of a row breaks is no reason to refuse it.
            assert found[0] == found[1] or (found[1] == "chat_template_unsupported" and max_length is not None)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("only", [True, False])
def test_turns_of_rows_with_the_same_tools_are_those_that_would_be_found(
    tokenizer: PreTrainedTokenizerFast, name: str, only: bool, monkeypatch: pytest.MonkeyPatch
):
    tokenizer.chat_template = TEMPLATES[name]
    rng = random.Random(name)
    quick, slow = (Renderer(tokenizer, assistant_only_loss=only) for _ in range(2))
    for _ in range(20):
        row: dict[str, Any] = {"messages": talk(rng, rng.choice((2, 4, 6)))}
        if (number := rng.randrange(3)) < 2:
            row["tools"] = [TOOL, TOOL | {"n": 1}][: number + 1]
        found: list[Any] = []
        for renderer, limit in ((quick, 256), (slow, 0)):
            monkeypatch.setattr(render, "MAX_OUTLINES", limit)
            try:
                shown = renderer.render(1, row)
            except (InvalidRequestError, DatasetInvalidError) as error:
                found.append(error.message)
            else:
                found.append((shown.text, shown.spans))
        assert found[0] == found[1]


@pytest.fixture
def num_written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of messages of each conversation that a template has written."""
    counts: list[int] = []
    write = ChatTemplate.render

    def counted(self: ChatTemplate, tokenizer: Any, messages: Any, *args: Any, **options: Any) -> str:
        counts.append(len(messages))
        return write(self, tokenizer, messages, *args, **options)

    monkeypatch.setattr(ChatTemplate, "render", counted)
    return counts


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, MARKED])
@pytest.mark.parametrize("extra", [{}, {"tools": [TOOL]}])
def test_what_is_cut_off_is_not_searched(
    tokenizer: PreTrainedTokenizerFast, num_written: list[int], template: str, extra: dict[str, Any]
):
    tokenizer.chat_template = template
    row = {"messages": talk(random.Random(7), 3000)} | extra
    (found,) = encode([row], tokenizer, max_length=200, assistant_only_loss=True)
    assert found.labels is not None
    assert sum(num_written) < 5000


def test_rows_with_the_same_tools_are_searched_once(tokenizer: PreTrainedTokenizerFast, num_written: list[int]):
    renderer = Renderer(tokenizer, assistant_only_loss=True)
    rows = [{"messages": talk(random.Random(number), 20), "tools": [TOOL]} for number in range(3)]
    for row in rows:
        num_written.clear()
        renderer.render(1, row)
        assert len(num_written) == (1 if row is not rows[0] else 21)

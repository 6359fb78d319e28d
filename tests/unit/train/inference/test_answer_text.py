"""Texts that arrive token by token are what the whole decodes to."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tests.support.tiny_models import make_tiny_tokenizer

    return make_tiny_tokenizer()


@pytest.mark.parametrize("text", ["Grüße, 世界! 👩‍👩‍👧", "plain words", "", "x" * 40, "é" * 20])
def test_no_character_is_split(tokenizer: Any, text: str) -> None:
    from train.inference.answer_text import AnswerText

    answer = AnswerText(tokenizer)
    pieces = [answer.push(token) for token in tokenizer(text)["input_ids"]]
    pieces.append(answer.finish())

    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_that_is_never_completed_is_the_replacement_character(tokenizer: Any) -> None:
    from train.inference.answer_text import AnswerText

    answer = AnswerText(tokenizer)
    first, *_ = tokenizer("世")["input_ids"]

    assert answer.push(first) == ""
    assert answer.finish() == "\ufffd"


@settings(max_examples=60)
@given(text=st.text("abcST ", max_size=30), stops=st.lists(st.text("abcST", min_size=1, max_size=5), max_size=3))
def test_a_stop_text_is_found_wherever_it_is(tokenizer: Any, text: str, stops: list[str]) -> None:
    from train.inference.answer_text import AnswerText

    answer = AnswerText(tokenizer, stops)
    said = ""
    for token in tokenizer(text)["input_ids"]:
        said += answer.push(token)
        assert not any(stop in said for stop in stops)
        if answer.is_stopped:
            break
    said += answer.finish()

    places = [text.index(stop) for stop in stops if stop in text]
    assert answer.is_stopped == bool(places)
    if not places:
        assert said == text
    else:  # of two that overlap, the one that is complete first ends the answer
        assert text.startswith(said)
        assert any(text[len(said) :].startswith(stop) for stop in stops)

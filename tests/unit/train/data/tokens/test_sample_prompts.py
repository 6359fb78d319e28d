"""Tokens of sample prompts, with and without a chat template."""

from typing import Any

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas import TrainingConfig
from tests.support.tiny_models import make_tiny_tokenizer
from train.data.tokens.sample_prompts import SampleSettings, encode_prompts

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a queue?"}]


def settings(*prompts: Any, max_new_tokens: int = 8) -> SampleSettings:
    training = TrainingConfig.model_validate({"sample_prompts": list(prompts), "sample_max_new_tokens": max_new_tokens})
    found = SampleSettings.of(training)
    assert found is not None
    return found


def test_a_chat_model_gets_its_template_with_the_generation_prompt() -> None:
    tokenizer = make_tiny_tokenizer()
    text, messages = encode_prompts(settings("What is a queue?", MESSAGES), tokenizer, None)
    options = {"add_generation_prompt": True, "return_dict": False}
    assert text == tokenizer.apply_chat_template([MESSAGES[1]], **options)
    assert messages == tokenizer.apply_chat_template(MESSAGES, **options)


def test_a_base_model_gets_the_text_itself() -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = None
    text, messages = encode_prompts(settings("Once upon a time", MESSAGES), tokenizer, None)
    assert text == tokenizer("Once upon a time")["input_ids"]
    assert messages == tokenizer("Be brief.\nWhat is a queue?\n")["input_ids"]


def test_a_prompt_must_leave_room_for_its_answer() -> None:
    tokenizer = make_tiny_tokenizer()
    [tokens] = encode_prompts(settings("What is a queue?"), tokenizer, None)
    assert encode_prompts(settings("What is a queue?"), tokenizer, len(tokens) + 8) == [tokens]
    with pytest.raises(InvalidRequestError, match=r"Prompt 2 of training\.sample_prompts has \d+ tokens") as error:
        encode_prompts(settings("What?", "What is a queue?"), tokenizer, len(tokens) + 7)
    assert (error.value.code, error.value.param) == ("invalid_config", "training.sample_prompts")


def test_a_prompt_that_the_template_refuses_is_named() -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('No system message, please.') }}"
    with pytest.raises(InvalidRequestError, match=r"refuses prompt 1 .* \(No system message, please\)\. Change"):
        encode_prompts(settings(MESSAGES), tokenizer, None)


@pytest.mark.parametrize("prompts", [[], [""], [[]], ["x"] * 21, [[{"role": "tool", "content": "x"}]], [1], "x"])
def test_other_prompts_are_refused_by_the_config(prompts: Any) -> None:
    with pytest.raises(ValueError, match="sample_prompts"):
        TrainingConfig.model_validate({"sample_prompts": prompts})


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"role": "tool", "content": "x"}, "role must be 'system', 'user' or 'assistant'"),
        ({"role": "user"}, "content is required"),
        ({"role": "user", "content": "x", "text": "y"}, "text is not a known setting"),
    ],
)
def test_a_wrong_message_is_named(message: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"sample_prompts\.1\.0\.{problem}"):
        TrainingConfig(sample_prompts=["x", [message]])  # type: ignore[list-item]

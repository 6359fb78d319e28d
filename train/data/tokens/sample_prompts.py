"""Tokens of the prompts that a run answers while it trains (`training.sample_prompts`)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas import TrainingConfig
from train.data.rows.canonical import Message
from train.data.tokens.chat_template import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIELD = "training.sample_prompts"


@dataclass(frozen=True)
class SampleSettings:
    """The prompts of a job; hashable."""

    prompts: tuple[str | tuple[tuple[str, str], ...], ...]
    """A text, or the role and the content of each message."""
    max_new_tokens: int

    @classmethod
    def of(cls, training: TrainingConfig) -> "SampleSettings | None":
        """`None` for a job without prompts."""
        if training.sample_prompts is None:
            return None
        prompts = tuple(
            prompt if isinstance(prompt, str) else tuple((message["role"], message["content"]) for message in prompt)
            for prompt in training.sample_prompts
        )
        return cls(prompts, training.sample_max_new_tokens)


def encode_prompts(
    settings: SampleSettings, tokenizer: "PreTrainedTokenizerBase", max_positions: int | None
) -> list[list[int]]:
    """The tokens of each prompt, as at inference: with the chat template and its generation prompt, if there is one.

    Raise `InvalidRequestError` (`invalid_config`) for a prompt that the template refuses, that has no tokens, or that
    leaves no room for the answer in the `max_positions` of the model.
    """
    encoded = []
    for number, prompt in enumerate(settings.prompts, 1):
        tokens = _encode(number, prompt, tokenizer)
        if max_positions is not None and len(tokens) + settings.max_new_tokens > max_positions:
            raise _invalid(
                f"Prompt {number} of {FIELD} has {len(tokens)} tokens, and the model has {max_positions} positions: no "
                f"room is left for training.sample_max_new_tokens ({settings.max_new_tokens}). Shorten one of them."
            )
        encoded.append(tokens)
    return encoded


def _encode(number: int, prompt: str | tuple[tuple[str, str], ...], tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    from jinja2 import TemplateError

    messages: list[Message] = (
        [{"role": "user", "content": prompt}]
        if isinstance(prompt, str)
        else [{"role": role, "content": content} for role, content in prompt]
    )
    try:
        tokens = conversation_tokens(messages, None, tokenizer, is_text=isinstance(prompt, str))
    except (TemplateError, TypeError, ValueError, LookupError) as error:
        raise _invalid(
            f"The model's chat template refuses prompt {number} of {FIELD} ({str(error)[:200].rstrip('.')}). "
            "Change its messages, or give the prompt as a text."
        ) from error
    if not tokens:
        raise _invalid(f"Prompt {number} of {FIELD} has no tokens for this model; give it another text.")
    return tokens


def conversation_tokens(
    messages: list[Message],
    tools: list[dict[str, Any]] | None,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    is_text: bool = False,
) -> list[int]:
    """The tokens of a conversation that the model is to continue: with its chat template and the generation prompt.

    Without a template, each message is a line, as in training; a prompt that `is_text` gets no line break. Raise
    `jinja2.TemplateError`, `TypeError`, `ValueError` or `LookupError` when the template refuses the conversation.
    """
    template = ChatTemplate.of(tokenizer)
    if template.origin == "none":
        return text_tokens("\n".join(message["content"] for message in messages) + ("" if is_text else "\n"), tokenizer)
    text = template.render(tokenizer, messages, tools, add_generation_prompt=True)
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def text_tokens(text: str, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The tokens of a text that the model is to continue: without the end that some tokenizers write behind a text."""
    tokens: list[int] = tokenizer(text)["input_ids"]
    writes_end = tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id
    return tokens[:-1] if writes_end else tokens


def _invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, "invalid_config", FIELD)

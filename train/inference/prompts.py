"""From a request to the prompts of an engine: tokens, limits and settings, checked before anything is computed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.errors import InvalidRequestError, MalformedRequestError
from ftlab.schemas.chat import ChatRequest, CompletionRequest, SamplingRequest
from train.data.rows.errors import RowError
from train.data.shapes.messages import MessageReader
from train.data.tokens.chat_template import ChatTemplate
from train.data.tokens.render import with_parsed_calls
from train.data.tokens.sample_prompts import conversation_tokens, text_tokens
from train.inference.answers import Prompt
from train.inference.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Limits:
    """What the model can take."""

    context: int
    """Tokens of a prompt and its answer together."""
    vocabulary: int
    """Number of tokens."""


MAX_TOKEN_DIGITS = 10
"""Digits of the id of a token; Python refuses to read numbers of thousands of digits."""
EMPTY_VALUES: tuple[Any, ...] = (None, "", [], {})
_TOOLS = re.compile(r"\btools\b")


def chat_prompts(
    request: ChatRequest, tokenizer: "PreTrainedTokenizerBase", limits: Limits, adapter: Path | None
) -> list[Prompt]:
    """One prompt for each answer.

    Raise `InvalidRequestError` for messages that cannot be read, that the chat template refuses, or that have tools
    which it does not know; `MalformedRequestError` (`context_length_exceeded`) for too long ones.
    """
    tools = shown_tools(request)
    if tools and not knows_tools(tokenizer, tools):
        raise InvalidRequestError(
            "The model's chat template does not know tools; leave tools out, or use another model.",
            "unsupported_parameter",
            "tools",
        )
    tokens = _conversation(request, tools, tokenizer)
    top = (request.top_logprobs or 0) if request.logprobs else None
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequestError("top_logprobs needs logprobs: true.", "invalid_parameter", "top_logprobs")
    field = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
    limit = _max_new_tokens(len(tokens), request.max_new_tokens, limits.context, field, "messages")
    return [
        Prompt(tokens, limit, sampling, request.stop_texts, adapter) for sampling in _samplings(request, top, limits)
    ]


def completion_prompts(
    request: CompletionRequest, tokenizer: "PreTrainedTokenizerBase", limits: Limits, adapter: Path | None
) -> list[Prompt]:
    """One prompt for each answer: `n` for the first prompt, then those of the next. Raises what `chat_prompts` does."""
    found = []
    for prompt in request.prompts:
        tokens = text_tokens(prompt, tokenizer) if isinstance(prompt, str) else prompt
        if not tokens or not all(token < limits.vocabulary for token in tokens):
            raise InvalidRequestError(
                f"prompt has no token, or one that the model does not have; it has {limits.vocabulary} tokens.",
                "invalid_parameter",
                "prompt",
            )
        limit = _max_new_tokens(len(tokens), request.max_new_tokens, limits.context, "max_tokens", "prompt")
        found += [
            Prompt(tokens, limit, sampling, request.stop_texts, adapter, is_text=True)
            for sampling in _samplings(request, request.logprobs, limits)
        ]
    return found


def shown_tools(request: ChatRequest) -> list[dict[str, Any]] | None:
    """The tools that the model gets to see."""
    return None if request.tool_choice == "none" else request.tools or None


def knows_tools(tokenizer: "PreTrainedTokenizerBase", tools: list[dict[str, Any]]) -> bool:
    """Whether the chat template writes tools."""
    if ChatTemplate.of(tokenizer).origin == "none":
        return False
    return _TOOLS.search(tokenizer.get_chat_template(None, tools)) is not None


def _conversation(
    request: ChatRequest, tools: list[dict[str, Any]] | None, tokenizer: "PreTrainedTokenizerBase"
) -> list[int]:
    from jinja2 import TemplateError

    unknown: list[str] = []

    def on_field(field: str, path: str, used_as: str | None) -> None:
        if used_as is None and path != "[].name":  # that of a user has no place in chat templates
            unknown.append(field + path)

    values = [
        {key: item for key, item in message.items() if key == "content" or item not in EMPTY_VALUES}
        for message in request.messages
    ]
    try:
        messages = MessageReader(on_field=on_field).read(values, "messages")
    except RowError as error:
        raise InvalidRequestError(str(error), "invalid_messages", "messages") from None
    if unknown:
        raise InvalidRequestError(f"{unknown[0]} is not a field of a message.", "unknown_field", "messages")
    try:
        messages = [with_parsed_calls(message) for message in messages]
        tokens = conversation_tokens(messages, tools, tokenizer)
    except (TemplateError, TypeError, ValueError, LookupError) as error:
        raise InvalidRequestError(
            f"The model's chat template refuses the messages ({str(error)[:200].rstrip('.')}).",
            "invalid_messages",
            "messages",
        ) from None
    if not tokens:
        raise InvalidRequestError("The messages have no tokens for this model.", "invalid_messages", "messages")
    return tokens


def _max_new_tokens(num_tokens: int, wanted: int | None, context: int, field: str, param: str) -> int:
    left = context - num_tokens
    if left < 1 or (wanted or 1) > left:
        asked = f" and {wanted} in {field}" if wanted is not None else ""
        raise MalformedRequestError(
            f"This model's context has {context} tokens, and the request has {num_tokens} in {param}{asked}. Shorten "
            f"{param}{' or ' + field if asked else ''}.",
            "context_length_exceeded",
            param,
        )
    return wanted or left


def _samplings(request: SamplingRequest, top_logprobs: int | None, limits: Limits) -> Iterator[Sampling]:
    """The settings of each of the `n` answers, whose seeds follow one another."""
    for number in range(request.n or 1):
        yield Sampling(
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            top_k=request.top_k,
            presence_penalty=request.presence_penalty or 0.0,
            frequency_penalty=request.frequency_penalty or 0.0,
            logit_bias=tuple(_biases(request, limits)),
            seed=None if request.seed is None else request.seed + number,
            top_logprobs=top_logprobs,
        )


def _biases(request: SamplingRequest, limits: Limits) -> Iterator[tuple[int, float]]:
    for token, bias in (request.logit_bias or {}).items():
        is_number = token.isascii() and token.isdigit() and len(token) <= MAX_TOKEN_DIGITS
        if not is_number or int(token) >= limits.vocabulary:
            raise InvalidRequestError(
                f"logit_bias names a token that the model does not have; it has {limits.vocabulary} tokens.",
                "invalid_parameter",
                "logit_bias",
            )
        yield int(token), bias

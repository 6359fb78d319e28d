"""Pieces of answers as replies of OpenAI's API: whole ones, and chunks of a stream."""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ftlab.schemas.chat import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatLogprobs,
    CompletionChoice,
    CompletionLogprobs,
    FinishReason,
    TextCompletion,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    Usage,
)
from train.inference.answer_text import INCOMPLETE
from train.inference.answers import Piece, token_text
from train.inference.sampling import SampledToken
from train.inference.tool_calls import ToolCallText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Chunk = dict[str, Any]


@dataclass
class Head:
    """What all chunks of one reply have in common."""

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))


class Reply(Protocol):
    """The reply to one request: `chunks` is called for each piece, `whole` or `usage_chunk` at the end."""

    num_prompt_tokens: int

    def opening(self) -> Iterator[Chunk]:
        """Chunks before any token."""

    def chunks(self, index: int, piece: Piece) -> Iterator[Chunk]:
        """Chunks of a piece of the answer `index`, which become a part of the whole reply too."""

    def usage_chunk(self) -> Chunk:
        """The last chunk of a stream with `include_usage`."""

    def whole(self) -> ChatCompletion | TextCompletion:
        """The reply that is not a stream, after the last piece of each answer."""


@dataclass
class _Choice:
    text: str = ""
    tokens: list[SampledToken] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    num_tokens: int = 0
    finish: FinishReason = "stop"


def _usage(num_prompt_tokens: int, choices: Sequence[_Choice]) -> Usage:
    num_tokens = sum(choice.num_tokens for choice in choices)
    return Usage(
        prompt_tokens=num_prompt_tokens, completion_tokens=num_tokens, total_tokens=num_prompt_tokens + num_tokens
    )


class ChatReply:
    """The reply to a conversation. With `has_tools`, calls of tools are separated from the text."""

    def __init__(
        self,
        model: str,
        tokenizer: "PreTrainedTokenizerBase",
        num_prompt_tokens: int,
        num_choices: int,
        *,
        has_tools: bool,
        has_logprobs: bool,
    ) -> None:
        self._head = Head(f"chatcmpl-{secrets.token_hex(12)}", model)
        self._tokenizer = tokenizer
        self.num_prompt_tokens = num_prompt_tokens
        self._choices = [_Choice() for _ in range(num_choices)]
        self._calls = [ToolCallText() if has_tools else None for _ in range(num_choices)]
        self._has_logprobs = has_logprobs

    def opening(self) -> Iterator[Chunk]:
        for index in range(len(self._choices)):
            yield self._chunk(index, {"role": "assistant", "content": "", "refusal": None})

    def chunks(self, index: int, piece: Piece) -> Iterator[Chunk]:
        choice, calls = self._choices[index], self._calls[index]
        choice.num_tokens = piece.num_tokens
        choice.tokens += piece.tokens
        text = piece.text if calls is None else calls.push(piece.text)
        if piece.finish is not None:
            choice.finish = piece.finish
            if calls is not None:
                rest, choice.calls = calls.finish()
                text += rest
                choice.finish = "tool_calls" if choice.calls else piece.finish
        choice.text += text
        if text or piece.tokens:
            yield self._chunk(index, {"content": text}, piece.tokens)
        if piece.finish is None:
            return
        if choice.calls:
            shown = [{"index": number} | call.model_dump() for number, call in enumerate(choice.calls)]
            yield self._chunk(index, {"tool_calls": shown})
        yield self._chunk(index, {}, finish=choice.finish)

    def usage_chunk(self) -> Chunk:
        usage = _usage(self.num_prompt_tokens, self._choices)
        return self._base() | {"choices": [], "usage": usage.model_dump()}

    def whole(self) -> ChatCompletion:
        return ChatCompletion(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=[self._whole_choice(index, choice) for index, choice in enumerate(self._choices)],
            usage=_usage(self.num_prompt_tokens, self._choices),
        )

    def _whole_choice(self, index: int, choice: _Choice) -> ChatChoice:
        content = choice.text if choice.text or not choice.calls else None
        message = AnswerMessage(content=content, tool_calls=choice.calls or None)
        return ChatChoice(
            index=index, message=message, logprobs=self._logprobs(choice.tokens), finish_reason=choice.finish
        )

    def _base(self) -> Chunk:
        head = self._head
        return {"id": head.id, "object": "chat.completion.chunk", "created": head.created, "model": head.model}

    def _chunk(
        self, index: int, delta: Chunk, tokens: Sequence[SampledToken] = (), finish: FinishReason | None = None
    ) -> Chunk:
        logprobs = self._logprobs(tokens) if tokens else None
        shown = logprobs.model_dump() if logprobs else None
        return self._base() | {
            "choices": [{"index": index, "delta": delta, "logprobs": shown, "finish_reason": finish}]
        }

    def _logprobs(self, tokens: Sequence[SampledToken]) -> ChatLogprobs | None:
        if not self._has_logprobs:
            return None
        content = []
        for token in tokens:
            assert token.logprob is not None
            own = _top(self._tokenizer, token.token, token.logprob)
            others = [_top(self._tokenizer, other, logprob) for other, logprob in token.top]
            content.append(TokenLogprob(**own.model_dump(), top_logprobs=others))
        return ChatLogprobs(content=content)


class TextReply:
    """The reply to texts that are to be continued."""

    def __init__(
        self,
        model: str,
        tokenizer: "PreTrainedTokenizerBase",
        num_prompt_tokens: int,
        num_choices: int,
        *,
        has_logprobs: bool,
    ) -> None:
        self._head = Head(f"cmpl-{secrets.token_hex(12)}", model)
        self._tokenizer = tokenizer
        self.num_prompt_tokens = num_prompt_tokens
        self._choices = [_Choice() for _ in range(num_choices)]
        self._offsets = [0] * num_choices
        self._has_logprobs = has_logprobs

    def opening(self) -> Iterator[Chunk]:
        return iter(())

    def chunks(self, index: int, piece: Piece) -> Iterator[Chunk]:
        choice = self._choices[index]
        choice.num_tokens = piece.num_tokens
        choice.text += piece.text
        choice.tokens += piece.tokens
        choice.finish = piece.finish or choice.finish
        logprobs = self._logprobs(piece.tokens, self._offsets[index])
        self._offsets[index] += sum(len(token_text(self._tokenizer, token.token)) for token in piece.tokens)
        shown = logprobs.model_dump() if logprobs and piece.tokens else None
        yield self._base() | {
            "choices": [{"index": index, "text": piece.text, "logprobs": shown, "finish_reason": piece.finish}]
        }

    def usage_chunk(self) -> Chunk:
        return self._base() | {"choices": [], "usage": _usage(self.num_prompt_tokens, self._choices).model_dump()}

    def whole(self) -> TextCompletion:
        choices = [
            CompletionChoice(
                index=index,
                text=choice.text,
                logprobs=self._logprobs(choice.tokens, 0),
                finish_reason=choice.finish,
            )
            for index, choice in enumerate(self._choices)
        ]
        return TextCompletion(
            **{key: value for key, value in self._base().items() if key != "object"},
            choices=choices,
            usage=_usage(self.num_prompt_tokens, self._choices),
        )

    def _base(self) -> Chunk:
        head = self._head
        return {"id": head.id, "object": "text_completion", "created": head.created, "model": head.model}

    def _logprobs(self, tokens: Sequence[SampledToken], offset: int) -> CompletionLogprobs | None:
        if not self._has_logprobs:
            return None
        texts = [token_text(self._tokenizer, token.token) for token in tokens]
        offsets = []
        for text in texts:
            offsets.append(offset)
            offset += len(text)
        return CompletionLogprobs(
            tokens=texts,
            token_logprobs=[token.logprob or 0.0 for token in tokens],
            top_logprobs=[
                {token_text(self._tokenizer, other): logprob for other, logprob in token.top} for token in tokens
            ],
            text_offset=offsets,
        )


def _top(tokenizer: "PreTrainedTokenizerBase", token: int, logprob: float) -> TopLogprob:
    text = token_text(tokenizer, token)
    return TopLogprob(token=text, logprob=logprob, bytes=None if INCOMPLETE in text else list(text.encode()))

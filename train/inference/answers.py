"""One answer from the first token of its prompt to its end, as the engine computes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from ftlab.errors import FineTuneLabError, InternalServerError, ServiceUnavailableError
from train.inference.answer_text import AnswerText
from train.inference.language_model import Adapter
from train.inference.sampling import SampledToken, Sampler, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Piece:
    """A part of an answer; the last one has a `finish` or an `error`."""

    text: str = ""
    tokens: tuple[SampledToken, ...] = ()
    """Tokens whose text begins in this piece or an earlier one."""
    num_tokens: int = 0
    """Tokens that were generated so far, also those without text."""
    finish: Literal["stop", "length"] | None = None
    error: FineTuneLabError | None = None

    @property
    def is_last(self) -> bool:
        return self.finish is not None or self.error is not None


@dataclass(frozen=True)
class Prompt:
    """What an answer continues, and within which limits."""

    tokens: Sequence[int]
    max_new_tokens: int
    sampling: Sampling
    stop_texts: tuple[str, ...] = ()
    adapter: Path | None = None
    """Folder of the adapter; `None` is the base model."""
    cache_salt: str | None = None
    """Prompts with different ones share no memory; timing would show which prompts there were."""
    is_text: bool = False
    """Whether the answer continues the text of the prompt, instead of a conversation."""


@dataclass(eq=False)
class Answer:
    """An answer in the making. `send` gets its pieces on the engine's thread, and must not block."""

    prompt: Prompt
    tokenizer: "PreTrainedTokenizerBase"
    end_ids: frozenset[int]
    send: Callable[[Piece], None]
    adapter: Adapter | None = None
    """Set once it is in memory."""
    cache: DynamicCache | None = None
    """Keys and values of the prompt, until the answer joins a batch."""
    num_read: int = 0
    """Tokens of the prompt that are in the cache."""
    last_token: int = -1
    is_cancelled: bool = False
    is_over: bool = False
    _num_tokens: int = 0
    _num_bytes: int = 0
    """Bytes of the text that was sent."""
    _unsent: list[tuple[int, SampledToken]] = field(default_factory=list)
    """Tokens with the byte at which they begin."""
    _token_bytes: int = 0

    def __post_init__(self) -> None:
        context = self.prompt.tokens if self.prompt.is_text else ()
        self._text = AnswerText(self.tokenizer, self.prompt.stop_texts, context)
        self._sampler = Sampler(self.prompt.sampling)

    def take(self, logits: Tensor) -> None:
        """Choose the next token from its logits, and send what is certain of the text."""
        self.add(self._sampler.take(logits))

    def add(self, sampled: SampledToken) -> None:
        """Add the next token, and send what is certain of the text."""
        self.last_token = sampled.token
        self._num_tokens += 1
        if sampled.token in self.end_ids:
            self.end("stop")
            return
        self._note(sampled)
        text = self._text.push(sampled.token)
        if self._text.is_stopped:
            self.end("stop", text)
        elif self._num_tokens >= self.prompt.max_new_tokens:
            self.end("length", text)
        elif text:
            self.send(Piece(text, self._sent_with(text), self._num_tokens))

    def fail(self, error: FineTuneLabError) -> None:
        """End the answer with an error."""
        if not self.is_over:
            self.is_over = True
            self.send(Piece(num_tokens=self._num_tokens, error=error))

    def end(self, finish: Literal["stop", "length"], text: str = "") -> None:
        """End the answer after `text`, the last that is certain."""
        text += self._text.finish()
        if self._text.is_stopped:
            finish = "stop"
        self.is_over = True
        self.send(Piece(text, self._sent_with(text), self._num_tokens, finish))

    def _note(self, sampled: SampledToken) -> None:
        if self.prompt.sampling.top_logprobs is not None:
            self._unsent.append((self._token_bytes, sampled))
            self._token_bytes += len(token_text(self.tokenizer, sampled.token).encode())

    def _sent_with(self, text: str) -> tuple[SampledToken, ...]:
        """The tokens to send with a text: those of a stop text, or after one, are never sent."""
        self._num_bytes += len(text.encode())
        sent = [token for start, token in self._unsent if start < self._num_bytes]
        self._unsent = self._unsent[len(sent) :]
        return tuple(sent)


def failure_of(error: Exception) -> FineTuneLabError:
    """What the caller gets for an error of the engine."""
    if isinstance(error, FineTuneLabError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        return ServiceUnavailableError(
            "The engine has not enough memory for this request beside the running ones; try again, or shorten it.",
            "engine_out_of_memory",
        )
    return InternalServerError(
        f"The engine could not compute the answer ({type(error).__name__}); its log has details."
    )


def token_text(tokenizer: "PreTrainedTokenizerBase", token: int) -> str:
    """The text of one token; a part of a character is the replacement character."""
    text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text

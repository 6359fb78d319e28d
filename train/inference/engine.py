"""The engine: it takes requests at any time, and gives all running answers one token after another."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ftlab.errors import FineTuneLabError, ServiceUnavailableError
from train.inference.answers import Answer, Piece, Prompt, failure_of
from train.inference.batches import READ_TOKENS, Batches
from train.inference.language_model import LanguageModel
from train.inference.padded_cache import new_cache
from train.inference.prompts import Limits
from train.model.base_model import BaseModel
from train.model.generation import end_token_ids
from train.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_RUNNING = 32
"""Answers that are computed at the same time; more wait for their turn."""
IDLE_WAIT_S = 0.5
DEFAULT_CONTEXT = 4096
"""Tokens of a prompt and its answer, for a model that does not say how many positions it has."""

logger = logging.getLogger(__name__)


class Engine:
    """One base model that answers prompts. `run` computes, on a thread of its own; all else may be called from any."""

    def __init__(self, model: LanguageModel, base: BaseModel, max_positions: int | None) -> None:
        self._model = model
        self._base = base
        embeddings = model.base.get_input_embeddings()
        self.limits = Limits(max_positions or DEFAULT_CONTEXT, int(embeddings.weight.shape[0]))
        self._batches = Batches(model)
        self._waiting: deque[Answer] = deque()
        self._reading: Answer | None = None
        self._changed = threading.Condition()
        self._closing: FineTuneLabError | None = None
        self.num_turns = 0
        """Grows while the thread is alive, also without requests."""
        self.used_at = time.monotonic()
        """When the engine last had something to do."""
        self.tokenizer_of = lru_cache(maxsize=64)(self._tokenizer_of)

    def _tokenizer_of(self, adapter: Path | None) -> "PreTrainedTokenizerBase":
        return engine_tokenizer(self._base, adapter)

    def submit(self, prompt: Prompt, send: Callable[[Piece], None]) -> Answer:
        """Begin an answer, whose pieces go to `send` on the engine's thread.

        Raise `ServiceUnavailableError` when the engine is closing.
        """
        tokenizer = self.tokenizer_of(prompt.adapter)
        end_ids = frozenset(end_token_ids(self._model.base, tokenizer))
        answer = Answer(prompt, tokenizer, end_ids, send)
        with self._changed:
            if self._closing is not None:
                raise self._closing
            self._waiting.append(answer)
            self._changed.notify()
        return answer

    def cancel(self, answers: Sequence[Answer]) -> None:
        """Stop computing answers that nobody waits for."""
        for answer in answers:
            answer.is_cancelled = True

    @property
    def is_idle(self) -> bool:
        return not self._waiting and self._reading is None and not self._batches.answers

    def close_if_idle(self, for_s: float) -> bool:
        """Take no more requests if there has been none for this long; return whether it is so."""
        with self._changed:
            if self.is_idle and time.monotonic() - self.used_at >= for_s:
                self._closing = closing_error("The engine ends because it was idle")
                self._changed.notify()
        return self._closing is not None

    def close(self, why: str) -> None:
        """Take no more requests, and fail those that are running."""
        with self._changed:
            self._closing = self._closing or closing_error(why)
            self._changed.notify()

    def run(self) -> None:
        """Compute until the engine is closed."""
        while self._closing is None:
            self.num_turns += 1
            if self.step():
                self.used_at = time.monotonic()
                continue
            with self._changed:
                if not self._waiting and self._closing is None:
                    self._changed.wait(IDLE_WAIT_S)
        for answer in [*self._waiting, *filter(None, [self._reading]), *self._batches.answers]:
            answer.fail(self._closing)

    def step(self) -> bool:
        """Read a part of one waiting prompt, and give each running answer a token; `False` without any work."""
        if self._reading is None:
            self._reading = self._next_waiting()
        reading = self._reading
        if reading is not None:
            try:
                self._read(reading)
            except Exception as error:  # an edge: the other answers are not affected
                if not isinstance(error, FineTuneLabError):
                    logger.exception("A prompt could not be read")
                reading.fail(failure_of(error))
            if reading.is_over or reading.is_cancelled or reading.last_token >= 0:
                self._reading = None
        has_answers = bool(self._batches.answers)
        if has_answers:
            self._batches.advance()
        return reading is not None or has_answers

    def _next_waiting(self) -> Answer | None:
        if len(self._batches.answers) >= MAX_RUNNING:
            return None
        with self._changed:
            while self._waiting:
                answer = self._waiting.popleft()
                if not answer.is_cancelled:
                    return answer
        return None

    def _read(self, answer: Answer) -> None:
        """Put the next tokens of the prompt into the cache; after the last one, choose the first token of the answer.

        The parts depend on the prompt alone, so that the answer does not depend on other requests.
        """
        if answer.is_cancelled:
            return
        if answer.cache is None:
            if answer.prompt.adapter is not None:
                in_use = frozenset(other.adapter.key for other in self._batches.answers if other.adapter is not None)
                answer.adapter = self._model.load(answer.prompt.adapter, in_use)
            answer.cache = new_cache(self._model.base)
        prompt = answer.prompt.tokens
        part = prompt[answer.num_read : answer.num_read + READ_TOKENS]
        device = self._model.device
        end = answer.num_read + len(part)
        logits = self._model.logits(
            torch.tensor([part], device=device),
            answer.cache,
            [answer.adapter],
            torch.ones((1, end), dtype=torch.long, device=device),
            torch.arange(answer.num_read, end, device=device)[None],
        )
        answer.num_read = end
        if end == len(prompt):
            answer.take(logits[0])
            if not answer.is_over:
                self._batches.add(answer)


def engine_tokenizer(base: BaseModel, adapter: Path | None) -> "PreTrainedTokenizerBase":
    """The tokenizer of an adapter, or of the base model. Blocks while it is read."""
    tokenizer = load_tokenizer(replace(base, adapter=adapter))
    # The first call resets truncation and padding, which fails while another thread uses the tokenizer.
    tokenizer("")
    return tokenizer


def closing_error(why: str) -> ServiceUnavailableError:
    """The error of a request that an engine does not take any more."""
    return ServiceUnavailableError(f"{why}; send the request again.", "engine_closing")

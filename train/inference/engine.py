"""The engine: it takes requests at any time, and gives all running answers one token after another."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

import torch

from ftlab.errors import FineTuneLabError
from train.inference.answers import Answer, Piece, Prompt, failure_of
from train.inference.batches import READ_TOKENS, Batches
from train.inference.closable_engine import ClosableEngine
from train.inference.language_model import LanguageModel
from train.inference.padded_cache import new_cache
from train.inference.prompts import Limits
from train.model.base_model import BaseModel
from train.model.generation import end_token_ids

MAX_RUNNING = 32
"""Answers that are computed at the same time; more wait for their turn."""
IDLE_WAIT_S = 0.5
DEFAULT_CONTEXT = 4096
"""Tokens of a prompt and its answer, for a model that does not say how many positions it has."""

logger = logging.getLogger(__name__)


class Engine(ClosableEngine):
    """One base model that answers prompts. `run` computes, on a thread of its own; all else may be called from any."""

    def __init__(self, model: LanguageModel, base: BaseModel, max_positions: int | None) -> None:
        super().__init__(base)
        self._model = model
        embeddings = model.base.get_input_embeddings()
        self.limits = Limits(max_positions or DEFAULT_CONTEXT, int(embeddings.weight.shape[0]))
        self._batches = Batches(model)
        self._waiting: deque[Answer] = deque()
        self._reading: Answer | None = None
        self.num_turns = 0
        """Grows while the thread is alive, also without requests."""

    def submit(self, prompt: Prompt, send: Callable[[Piece], None]) -> Answer:
        """Begin an answer, whose pieces go to `send` on the engine's thread.

        Raise `ServiceUnavailableError` when the engine is closing.
        """
        tokenizer = self.tokenizer_of(prompt.adapter)
        end_ids = frozenset(end_token_ids(self._model.base, tokenizer))
        answer = Answer(prompt, tokenizer, end_ids, send)
        with self._changed:
            self._require_open()
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

    def _wake(self) -> None:
        self._changed.notify()

    def run(self) -> None:
        """Compute until the engine is closed."""
        while self._closing is None:
            self.num_turns += 1
            if self.step():
                self._used_at = time.monotonic()
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

"""Batches of answers that are computed together, one token at a time."""

import logging

import torch

from train.inference.answers import Answer, failure_of
from train.inference.language_model import LanguageModel
from train.inference.padded_cache import PaddedCache, can_pad

READ_TOKENS = 512
"""Tokens of a prompt that are read before the running answers get their next token."""

logger = logging.getLogger(__name__)


class Batches:
    """The running answers. Those that can be computed in one pass are in one batch; each may leave at any token."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._can_pad = can_pad(model.base)
        self._batches: dict[object, _Batch] = {}

    @property
    def answers(self) -> list[Answer]:
        return [answer for batch in self._batches.values() for answer in batch.answers]

    def add(self, answer: Answer) -> None:
        """Add an answer whose prompt is in its cache, and that has its first token."""
        assert answer.cache is not None
        new = _Batch([answer], PaddedCache(answer.cache, [len(answer.prompt.tokens)]))
        answer.cache = None
        key = self._key(answer)
        old = self._batches.get(key)
        self._batches[key] = new if old is None else _Batch([*old.answers, answer], old.cache.joined(new.cache))

    def advance(self) -> None:
        """Give each answer its next token, and drop those that are over."""
        for key in list(self._batches):
            self._drop_ended(key)
            batch = self._batches.get(key)
            if batch is None:
                continue
            try:
                batch.advance(self._model)
            except Exception as error:  # an edge: the other batches are not affected
                logger.exception("A batch of %d answers failed", len(batch.answers))
                for answer in batch.answers:
                    answer.fail(failure_of(error))
            self._drop_ended(key)

    def _drop_ended(self, key: object) -> None:
        batch = self._batches[key]
        rows = [row for row, answer in enumerate(batch.answers) if not (answer.is_over or answer.is_cancelled)]
        if not rows:
            del self._batches[key]
        elif len(rows) < len(batch.answers):
            batch.keep(rows)

    def _key(self, answer: Answer) -> object:
        """What the answers of a batch have in common."""
        if not self._can_pad:
            return answer
        return None if answer.adapter is None or answer.adapter.is_mixable else answer.adapter.key


class _Batch:
    def __init__(self, answers: list[Answer], cache: PaddedCache) -> None:
        self.answers = answers
        self.cache = cache

    def keep(self, rows: list[int]) -> None:
        self.answers = [self.answers[row] for row in rows]
        self.cache.keep(rows)

    def advance(self, model: LanguageModel) -> None:
        tokens = torch.tensor([[answer.last_token] for answer in self.answers], device=model.device)
        logits = model.logits(
            tokens,
            self.cache.cache,
            [answer.adapter for answer in self.answers],
            self.cache.mask(model.device),
            self.cache.positions(model.device),
        )
        self.cache.grow()
        for answer, row in zip(self.answers, logits, strict=True):
            answer.take(row)

"""The next token of an answer, chosen from the logits as its request says."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

SEEDS = 2**63
"""Seeds that a generator of torch takes."""
LOWEST_LOGPROB = -9999.0
"""Log probability of a token that is impossible, as OpenAI writes it: JSON has no infinity."""


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one answer are chosen."""

    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    """`None` is another one for every answer."""
    top_logprobs: int | None = None
    """Number of alternatives that are reported with each token; `None` reports no log probabilities."""


@dataclass(frozen=True)
class SampledToken:
    """A token, and how likely the model called it before any setting of the request."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    """The most likely tokens with their log probabilities."""


class Sampler:
    """Chooses the tokens of one answer. Its random numbers are its own, so no other request changes them."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._counts: Counter[int] = Counter()
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed % SEEDS)

    def take(self, logits: Tensor) -> SampledToken:
        """The next token. `logits` has one number for each token of the vocabulary."""
        logits = logits.detach().to("cpu", torch.float32)
        token = self._choose(self._adjusted(logits))
        self._counts[token] += 1
        if self._sampling.top_logprobs is None:
            return SampledToken(token)
        logprobs = torch.log_softmax(logits, dim=-1).clamp(min=LOWEST_LOGPROB)
        values, tokens = logprobs.topk(min(self._sampling.top_logprobs, len(logits)))
        top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
        return SampledToken(token, float(logprobs[token]), top)

    def _adjusted(self, logits: Tensor) -> Tensor:
        sampling = self._sampling
        is_penalised = self._counts and (sampling.presence_penalty or sampling.frequency_penalty)
        if not is_penalised and not sampling.logit_bias:
            return logits
        logits = logits.clone()
        if is_penalised:
            tokens = torch.tensor(list(self._counts))
            counts = torch.tensor(list(self._counts.values()), dtype=torch.float32)
            logits[tokens] -= sampling.presence_penalty + sampling.frequency_penalty * counts
        for token, bias in sampling.logit_bias:
            logits[token] += bias
        return logits

    def _choose(self, logits: Tensor) -> int:
        sampling = self._sampling
        if sampling.temperature == 0:
            return int(logits.argmax())
        # Sorted, so that both limits are a cut at the end. Equal logits keep the order of their ids.
        values, order = (logits / sampling.temperature).sort(descending=True, stable=True)
        probabilities = torch.softmax(values, dim=-1)
        kept = len(probabilities)
        if sampling.top_p < 1:
            before = probabilities.cumsum(-1) - probabilities
            kept = max(1, int((before < sampling.top_p).sum()))
        if sampling.top_k is not None:
            kept = min(kept, sampling.top_k)
        chosen = torch.multinomial(probabilities[:kept], 1, generator=self._generator)
        return int(order[chosen])

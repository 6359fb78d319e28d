"""Does an exported model answer like the tuned model? The same prompts, and the logits after each of their tokens."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from ftlab.errors import FineTuneLabError
from ftlab.schemas import JobConfig, TrainingConfig
from train.model.base_model import BaseModel
from train.model.load import load_delivered, load_engine_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_PROMPT_TOKENS = 512
"""Tokens of a prompt that are compared, from its beginning."""
LARGEST = {"F32": 2e-3, "F16": 0.25, "BF16": 2.0, "Q8_0": 6.0}
LARGEST |= {"Q6_K": 6.0, **dict.fromkeys(("Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_M"), 8.0)}
"""The largest difference of a single logit that rounding to a type explains, in standard deviations of the logits."""
TYPICAL = {"F32": 2e-4, "F16": 0.02, "BF16": 0.15, "Q8_0": 0.4}
TYPICAL |= {"Q6_K": 0.5, **dict.fromkeys(("Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_M"), 1.0)}
"""The same for the root mean square of all differences, which a defect of many weights raises.

Models that have nothing in common differ by 1.4. Of SmolLM2 with 135 million weights, which loses more than larger
models, Q6_K was measured to lose 0.13, Q4_K_M 0.37 and Q5_K_M, with its older types for short rows, 0.75: most of that
is a shift of all logits, so that the likeliest token was the same after nine of ten tokens. For K-quants, the bounds
therefore find a wrong model, together with `AGREEMENT`. That the conversion is right is known by then, from the
comparison of the file that the K-quants are made of.
"""
AGREEMENT = {"Q6_K": 0.8, "Q5_K_M": 0.7, "Q5_K_S": 0.7, "Q4_K_M": 0.6, "Q4_K_S": 0.6, "Q3_K_M": 0.5}
"""The smallest share of tokens after which the likeliest token stays the same; that of a wrong model is almost 0."""

FLOAT32 = JobConfig(model="any", dataset="any", training=TrainingConfig(dtype="float32"))
"""How models are loaded that are compared."""


@dataclass(frozen=True)
class Reference:
    """The answers of the tuned model."""

    tokens: list[list[int]]
    """Of each prompt."""
    logits: list[Tensor]
    """A row for each token of a prompt, and a column for each token of the vocabulary."""

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.tokens))

    @property
    def spread(self) -> float:
        """Standard deviation of the logits after one token, on average."""
        return float(torch.cat([logits.std(dim=1) for logits in self.logits]).mean())


@dataclass(frozen=True)
class Difference:
    """How far the logits of another model are from those of a reference."""

    largest: float
    """Infinite where a logit is not a number, and where the vocabulary has another size."""
    typical: float
    """Root mean square."""
    top1_agreement: float


def prompt_tokens(tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[str]) -> list[list[int]]:
    """The tokens of each prompt as a user's message, or as plain text where there is no chat template."""
    if tokenizer.chat_template is None:
        return [tokenizer(prompt)["input_ids"][:MAX_PROMPT_TOKENS] for prompt in prompts]
    return [
        tokenizer(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
            ),
            add_special_tokens=False,
        )["input_ids"][:MAX_PROMPT_TOKENS]
        for prompt in prompts
    ]


def load_to_compare(base: BaseModel, *, use_cuda: bool) -> PreTrainedModel | PeftModel:
    """The base model in the precision of its files, with its adapter if it has one.

    Everything is computed in float32, so that nothing but the weights makes a difference.
    """
    if base.adapter is not None:
        return load_delivered(base, base.adapter, FLOAT32, use_cuda=use_cuda)
    return load_engine_model(base, FLOAT32, use_cuda=use_cuda)


def reference_of(
    model: PreTrainedModel | PeftModel, tokens: list[list[int]], after_prompt: Callable[[], None]
) -> Reference:
    """The answers of the tuned model."""
    return Reference(tokens, list(_logits(model, tokens, after_prompt)))


def difference_from(
    reference: Reference, model: PreTrainedModel | PeftModel, after_prompt: Callable[[], None]
) -> Difference:
    """Compare the answers of a model with the reference."""
    largest, squares, num_logits, agreeing = 0.0, 0.0, 0, 0
    found_of_each = _logits(model, reference.tokens, after_prompt)
    for expected, found in zip(reference.logits, found_of_each, strict=True):
        if found.shape != expected.shape:
            return Difference(math.inf, math.inf, 0.0)
        difference = (found - expected).abs()
        if not bool(difference.isfinite().all()):
            return Difference(math.inf, math.inf, 0.0)
        largest = max(largest, difference.max().item())
        squares, num_logits = squares + difference.square().sum().item(), num_logits + difference.numel()
        agreeing += int((found.argmax(dim=1) == expected.argmax(dim=1)).sum())
    return Difference(largest, math.sqrt(squares / num_logits), agreeing / reference.num_tokens)


def _logits(
    model: PreTrainedModel | PeftModel, tokens: list[list[int]], after_prompt: Callable[[], None]
) -> Iterator[Tensor]:
    """The logits after each token of each prompt, in float32 on the CPU."""
    model.eval()
    for each in tokens:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([each], device=model.device), use_cache=False).logits[0].float().cpu()
        yield logits
        after_prompt()


def differs(why: str) -> FineTuneLabError:
    """The error for an export that is not the tuned model."""
    return FineTuneLabError(
        f"The exported model does not answer like the tuned one, so it was removed: {why}. Check the disk, then export "
        "it again, or with more precise weights.",
        "export_differs",
    )

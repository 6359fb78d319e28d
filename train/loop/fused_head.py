"""TRL's fused head: log-probabilities from the last hidden states and the output layer, without all logits at once.

It leaves out what a model does between its last hidden states and its logits, apart from the scales and the soft cap
that TRL knows. A model that does more would be trained, and measured, with a loss that is not its own.
"""

from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

from ftlab.errors import InvalidRequestError
from train.loop.run_state import preserve_rng
from train.model.generation import generating
from train.model.load import precision_of_attention

TOLERANCE = 16
"""Largest difference between two log-probabilities of one token, in roundings of the largest one or of a logit."""


def add_fused_head(model: PreTrainedModel | PeftModel, outputs: tuple[str, ...] = ("log_probs",)) -> None:
    """Give a loaded model the fused head; raise as `check_fused_head` does."""
    add_fused_lm_head(model.get_base_model() if isinstance(model, PeftModel) else model, outputs=outputs)
    check_fused_head(model)


def check_fused_head(model: Any, temperature: float = 1.0) -> None:
    """Compare the log-probabilities of a model's fused head with those of its logits. It draws no random numbers.

    `temperature` is that of the fused head. Raise `InvalidRequestError` (`unsupported_model`) where they differ.
    """
    ids = torch.arange(3, 11, device=model.device)[None]
    with preserve_rng(), generating(model), precision_of_attention(model):
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        fused = model(input_ids=ids, labels=ids, use_cache=False, fused_lm_head=True).log_probs
    scaled = logits.float() / temperature
    own = scaled.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    types = (logits.dtype, model.get_output_embeddings().weight.dtype)
    largest = max(float(scaled.abs().max()), float(own.abs().max()))
    rounding = max(torch.finfo(each).eps for each in types) * largest
    if float((own - fused).abs().max()) > TOLERANCE * rounding:
        raise InvalidRequestError(
            f"The loss of this model ({model.config.model_type}) cannot be computed from its output layer, because the "
            "model changes the hidden states or the logits around that layer. Choose another base model.",
            "unsupported_model",
            "model",
        )

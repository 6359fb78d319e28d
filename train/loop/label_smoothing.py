"""Label smoothing for a loss that is computed without the logits of the whole vocabulary.

The smoothed loss of a token is `(1 - f) * nll + f * m`, with the mean `m` of `-log p` over the vocabulary. With the
logits `z` and the label `y`, `m - nll` is `z[y] - mean(z)`: the normaliser cancels out. Logits are linear in the last
hidden state, so this difference needs the weights of `y` and the mean weights of the output layer, and no other logit.
Loss and gradients equal those of `torch.nn.functional.cross_entropy(label_smoothing=f)`, up to rounding.
"""

from collections.abc import Iterator
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from ftlab.errors import InvalidRequestError
from train.data.tokens.encode import IGNORE
from train.loop.run_state import preserve_rng
from train.model.load import precision_of_attention

TOLERANCE = 64
"""Largest difference between a logit and the product of hidden state and weights, in roundings of their type."""


class LabelSmoothing:
    """A forward hook on a model's backbone, which keeps the last hidden states for the loss of the same pass."""

    def __init__(self, model: PreTrainedModel | PeftModel, factor: float) -> None:
        """Raise `InvalidRequestError` for a model whose logits are not linear in its last hidden state."""
        self.factor = factor
        self._model = _base_of(model)
        self._hidden = torch.empty(0)
        self._model.base_model.register_forward_hook(self)
        self._refuse_other_heads()

    def __call__(self, _: torch.nn.Module, __: Any, output: Any) -> None:
        self._hidden = output.last_hidden_state

    def excess(self, labels: torch.Tensor) -> torch.Tensor:
        """Difference between the smoothed and the plain loss of the newest pass, summed over its trained tokens."""
        hidden, targets = self._hidden[:, :-1], labels[:, 1:]
        self._hidden = torch.empty(0)
        trained = targets != IGNORE
        hidden, targets = hidden[trained].float(), targets[trained]
        head: Any = self._model.get_output_embeddings()
        away = head.weight[targets].float() - head.weight.mean(dim=0, dtype=torch.float32)
        excess = (hidden * away).sum()
        if head.bias is not None:
            excess = excess + (head.bias[targets].float() - head.bias.mean(dtype=torch.float32)).sum()
        return self.factor * excess

    def _refuse_other_heads(self) -> None:
        """Compare the logits of a trial with the product. It draws no random numbers."""
        model, head = self._model, self._model.get_output_embeddings()
        ids = torch.arange(8, device=model.device)[None]
        was_training = model.training
        model.eval()
        with preserve_rng(), torch.no_grad(), precision_of_attention(model):
            logits = model(input_ids=ids, use_cache=False).logits
            if not self._hidden.numel():
                raise _unsupported(f"This model ({model.config.model_type}) does not pass on its last hidden states")
            products = torch.nn.functional.linear(self._hidden.to(head.weight.dtype), head.weight, head.bias).float()
        model.train(was_training)
        rounding = max(torch.finfo(dtype).eps for dtype in (head.weight.dtype, logits.dtype))
        if (logits.float() - products).abs().max() > TOLERANCE * rounding * products.abs().max():
            raise _unsupported(
                f"This model ({model.config.model_type}) changes its logits after the output layer, for example by "
                "soft-capping"
            )


def _unsupported(what: str) -> InvalidRequestError:
    message = f"{what}, which label smoothing does not support. Set method.label_smoothing_factor to 0."
    return InvalidRequestError(message, "invalid_config", "method.label_smoothing_factor")


def smoothing_in_force(model: PreTrainedModel | PeftModel) -> float:
    """The label smoothing factor that the loss of a model in training uses."""
    return next((hook.factor for hook in _hooks(_base_of(model))), 0.0)


def _hooks(model: PreTrainedModel) -> Iterator[LabelSmoothing]:
    return (hook for hook in model.base_model._forward_hooks.values() if isinstance(hook, LabelSmoothing))


def _base_of(model: PreTrainedModel | PeftModel) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model

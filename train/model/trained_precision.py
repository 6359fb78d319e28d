"""The precision of what is trained beside a frozen base model: float32, whatever the base model has.

The updates of AdamW are smaller than the distance between two 16-bit numbers: rounded to them, most would be lost, and
the loss would still look as if something was learned. PEFT keeps adapters in float32, but gives a module that is
trained as a whole, such as an embedding or the head of a reward model, the type of the base model.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from accelerate.utils.operations import recursively_apply
from peft import PeftModel, set_peft_model_state_dict
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor, nn


def train_in_float32(model: PeftModel, loaded: Mapping[str, Tensor]) -> None:
    """Give all trained weights the type float32, and undo TRL's cast of those on quantised weights to bfloat16.

    A checkpoint's adapters are loaded as float32, so after that cast, a resume would continue with another precision
    than the run started with. `loaded` are the weights by their names of an adapter that is continued, as they were
    before the cast; modules trained as a whole are otherwise copied from the base model.
    """
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data = loaded.get(name, weight.data).float()
    for trained, original in _whole_modules(model):
        if not loaded:
            for weight, before in zip(trained.parameters(), original.parameters(), strict=True):
                weight.data = before.data.to(torch.float32, copy=True)
        _exchange(trained, original)


def load_in_float32(model: PeftModel, stored: Mapping[str, Tensor]) -> None:
    """Load the weights of an adapter file into a model whose adapter is continued, without rounding them to 16 bits."""
    for trained, original in _whole_modules(model):
        trained.float()
        _exchange(trained, original)
    set_peft_model_state_dict(model, dict(stored))


def _whole_modules(model: PeftModel) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Each module that is trained as a whole, and the module of the base model that it replaces."""
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            [trained] = module.modules_to_save.values()
            yield trained, module.original_module


def _exchange(trained: nn.Module, original: nn.Module) -> None:
    """Let a float32 module take and return the type of a 16-bit module that it replaces."""
    type_of_base = next(original.parameters()).dtype
    is_done = any(isinstance(hook, _CastOutputs) for hook in trained._forward_hooks.values())
    if type_of_base in (torch.float16, torch.bfloat16) and not is_done:
        trained.register_forward_pre_hook(_cast_inputs, with_kwargs=True)
        trained.register_forward_hook(_CastOutputs(type_of_base))


def _cast_inputs(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any] | None:
    weight = next(module.parameters())
    if torch.is_autocast_enabled(weight.device.type):
        return None
    return _cast(inputs, weight.dtype), _cast(options, weight.dtype)


class _CastOutputs:
    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def __call__(self, module: nn.Module, inputs: Any, outputs: Any) -> Any:
        return _cast(outputs, self._dtype)


def _cast(values: Any, dtype: torch.dtype) -> Any:
    return recursively_apply(lambda tensor: tensor.to(dtype), values, test_type=_is_floating)


def _is_floating(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()

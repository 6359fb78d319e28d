"""Adapters that begin as a part of the base weights (PiSSA, OLoRA), and their form on the unchanged base.

Such an adapter begins as `B0 A0`, the most important part of a weight `W`, and trains on the rest,
`W - scaling B0 A0`. On `W` itself it would be another model. What is saved is the same update as a plain adapter of
twice the rank on `W`: `[B, -B0] [A; A0]` (as PEFT converts it, `LoraModel.subtract_mutated_init`). It also holds all
that a resume needs, bit for bit: the trained weights and those that the rest of `W` is computed from.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora.layer import Linear, LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor

from ftlab.errors import InvalidRequestError
from train.model.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS

_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class InitialAdapter:
    """The weights that an adapter begins with, by their names in the file of an adapter."""

    weights: dict[str, Tensor]

    @classmethod
    def make(cls, model: PeftModel, init: str) -> "InitialAdapter":
        """Compute the weights from those of the base, which stay as they are. `init` is as in `lora.init_lora_weights`.

        Raise `InvalidRequestError` (`invalid_config`) for a layer that is not linear, or has fewer rows or columns than
        the adapter's rank.
        """
        adapter = model.active_adapter
        for name, layer in _layers(model):
            base = layer.get_base_layer().weight
            _check_layer(name, layer, tuple(base.shape), layer.r[adapter], init)
            original = base.data.clone()
            with torch.no_grad():
                if init == "olora":
                    layer.olora_init(adapter)
                else:
                    layer.pissa_init(adapter, init)
            base.data = original
            for part in (layer.lora_A[adapter], layer.lora_B[adapter]):
                part.weight.data = part.weight.data.contiguous()
        return cls(_updates(model))

    @classmethod
    def read(cls, folder: Path, r: int) -> "InitialAdapter":
        """Read the weights from a checkpoint that `write` made of an adapter of rank `r`."""
        stored = load_file(folder / ADAPTER_WEIGHTS)
        first = {name: weight[r:].contiguous() for name, weight in stored.items() if name.endswith(_A)}
        second = {name: -weight[:, r:].contiguous() for name, weight in stored.items() if name.endswith(_B)}
        return cls(first | second)

    def cut_from(self, model: PeftModel, init: str) -> None:
        """Let the adapter begin with these weights, and reduce the base by them.

        At the start and after a resume, the rest of the base is computed from the same numbers in the same way.
        """
        others = get_peft_model_state_dict(model, save_embedding_layers=False)
        set_peft_model_state_dict(model, others | self.weights)
        adapter = model.active_adapter
        for _, layer in _layers(model):
            base = layer.get_base_layer().weight
            base.data = (base.data.float() - layer.get_delta_weight(adapter).detach()).to(base.dtype)
        model.peft_config[adapter].init_lora_weights = init

    def write(self, folder: Path) -> None:
        """Turn the adapter that was saved in the folder into the plain one on the unchanged base."""
        stored = load_file(folder / ADAPTER_WEIGHTS)
        for name, initial in self.weights.items():
            is_a = name.endswith(_A)
            other = (initial if is_a else -initial).to("cpu", stored[name].dtype)
            stored[name] = torch.cat([stored[name], other], dim=0 if is_a else 1)
        save_file(stored, folder / ADAPTER_WEIGHTS, {"format": "pt"})
        config = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
        config |= {"r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"], "init_lora_weights": True}
        (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")


def load_trained(model: PeftModel, folder: Path) -> None:
    """Load the trained weights from a checkpoint that `InitialAdapter.write` made."""
    r = model.active_peft_config.r
    stored = load_file(folder / ADAPTER_WEIGHTS)
    for name, weight in stored.items():
        if name.endswith(_A):
            stored[name] = weight[:r]
        elif name.endswith(_B):
            stored[name] = weight[:, :r]
    set_peft_model_state_dict(model, stored)


def _layers(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    modules = model.get_base_model().named_modules()
    return ((name, module) for name, module in modules if isinstance(module, LoraLayer))


def _updates(model: PeftModel) -> dict[str, Tensor]:
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: weight.clone() for name, weight in state.items() if name.endswith((_A, _B))}


def _check_layer(name: str, layer: LoraLayer, shape: tuple[int, ...], r: int, init: str) -> None:
    if not isinstance(layer, Linear):
        raise InvalidRequestError(
            f"lora.init_lora_weights '{init}' is for linear layers only, and {name} is none; leave it out of "
            "lora.target_modules.",
            "invalid_config",
            "lora.init_lora_weights",
        )
    if r > min(shape):
        raise InvalidRequestError(
            f"lora.r is {r}, and {name} has {shape[0]} rows and {shape[1]} columns: with lora.init_lora_weights "
            f"'{init}' the rank must be at most {min(shape)}.",
            "invalid_config",
            "lora.r",
        )

"""The weights of a tuned model with its adapter merged, read one tensor at a time.

The formulas are those of PEFT for LoRA (https://arxiv.org/abs/2106.09685), rank-stabilised LoRA
(https://arxiv.org/abs/2312.03732) and DoRA (https://arxiv.org/abs/2402.09353). They are computed in float32.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.pytorch_utils import Conv1D

from ftlab.errors import InvalidRequestError
from train.model.base_model import BaseModel
from train.model.files import ADAPTER_WEIGHTS, INDEX, WEIGHTS
from train.model.load import CHANGES_BASE
from train.model.load_errors import load_errors, model_invalid

_PREFIX = "base_model.model."
_LINEAR = frozenset({"lora_A.weight", "lora_B.weight"})
_EMBEDDING = frozenset({"lora_embedding_A", "lora_embedding_B"})
_PARTS = _LINEAR | _EMBEDDING | {"lora_magnitude_vector", "lora_B.bias"}


class MergedWeights:
    """The tensors of `base` by their names, merged with its adapter where it has one. At most one is in memory.

    Raise `InvalidRequestError`: `unsupported_model` for an adapter that cannot be merged, `model_invalid` for files
    that do not fit each other.
    """

    def __init__(self, base: BaseModel) -> None:
        self._folder = base.folder
        self._file_of = _file_of_each(base.folder)
        with load_errors(f"the base model {base.name}", base.folder):
            self.config: PretrainedConfig = AutoConfig.from_pretrained(
                base.folder, local_files_only=True, trust_remote_code=False
            )
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(self.config, trust_remote_code=False)
        if getattr(self.config, "quantization_config", None) is not None:
            raise _unsupported("its base model is quantised, and quantised weights cannot be added to")
        self._modules = dict(model.named_modules())
        self._aliases = _aliases(model, self._file_of)
        self._settings: LoraConfig | None = None
        self._updates: Mapping[str, dict[str, Tensor]] = {}
        self._replaced: dict[str, Tensor] = {}
        if base.adapter is not None:
            self._read_adapter(base.adapter)
        changed = {*self._replaced, *(f"{module}.weight" for module in self._updates)}
        self._untied = {alias for alias, name in self._aliases.items() if {alias, name} & changed}
        self._check_names(changed)

    @property
    def is_untied(self) -> bool:
        """Whether the output layer, which shares the weights of the embedding in the base, has its own now."""
        return bool(self._untied)

    @property
    def files(self) -> dict[str, list[str]]:
        """The names of the tensors by the file of the base model that they are in; new ones are in the last file."""
        names: dict[str, list[str]] = defaultdict(list)
        for name, file in self._file_of.items():
            names[file].append(name)
        names[max(names)] += sorted(self._untied)
        return {file: sorted(names[file]) for file in sorted(names)}

    def shape(self, name: str) -> tuple[int, ...]:
        if name in self._replaced:
            return tuple(self._replaced[name].shape)
        return self._stored_shape(name)

    def stored_type(self, name: str) -> str:
        """The type of the tensor in the base model, as safetensors names it."""
        stored = self._stored_name(name)
        with safe_open(self._folder / self._file_of[stored], "pt") as file:
            return str(file.get_slice(stored).get_dtype())

    def tensor(self, name: str) -> Tensor:
        """The merged tensor: float32 where the adapter changes it, else as it is stored."""
        if name in self._replaced:
            return self._replaced[name]
        stored = self._stored_name(name)
        with safe_open(self._folder / self._file_of[stored], "pt") as file:
            weight: Tensor = file.get_tensor(stored)
        module = name.removesuffix(".weight")
        if name.endswith(".weight") and module in self._updates:
            return self._merge(module, weight.float())
        if (bias := self._updates.get(module := name.removesuffix(".bias"), {}).get("lora_B.bias")) is not None:
            return weight.float().add_(bias, alpha=self._scaling(module))
        return weight

    def _stored_shape(self, name: str) -> tuple[int, ...]:
        stored = self._stored_name(name)
        with safe_open(self._folder / self._file_of[stored], "pt") as file:
            return tuple(file.get_slice(stored).get_shape())

    def _stored_name(self, name: str) -> str:
        return self._aliases.get(name, name)

    def _merge(self, module: str, weight: Tensor) -> Tensor:
        parts = self._updates[module]
        scaling = self._scaling(module)
        if "lora_embedding_A" in parts:
            return weight.addmm_(parts["lora_embedding_A"].T, parts["lora_embedding_B"].T, alpha=scaling)
        if isinstance(self._modules[module], Conv1D):
            return weight.addmm_(parts["lora_A.weight"].T, parts["lora_B.weight"].T, alpha=scaling)
        merged = weight.addmm_(parts["lora_B.weight"], parts["lora_A.weight"], alpha=scaling)
        if (magnitude := parts.get("lora_magnitude_vector")) is not None:
            merged.mul_((magnitude / torch.linalg.norm(merged, dim=1)).unsqueeze(1))
        return merged

    def _scaling(self, module: str) -> float:
        assert self._settings is not None
        ranks, alphas = self._settings.rank_pattern, self._settings.alpha_pattern
        rank = ranks.get(get_pattern_key(ranks.keys(), module), self._settings.r)
        alpha = alphas.get(get_pattern_key(alphas.keys(), module), self._settings.lora_alpha)
        return float(alpha / (math.sqrt(rank) if self._settings.use_rslora else rank))

    def _read_adapter(self, folder: Path) -> None:
        with load_errors("the adapter", folder):
            settings = PeftConfig.from_pretrained(folder)
            stored: dict[str, Tensor] = load_file(folder / ADAPTER_WEIGHTS)
        if not isinstance(settings, LoraConfig):
            raise _unsupported(f"its adapter is of the type {settings.peft_type}, and only LoRA is exported")
        if str(settings.init_lora_weights).startswith(CHANGES_BASE):
            raise _unsupported(f"its adapter was saved with init_lora_weights '{settings.init_lora_weights}'")
        self._settings = settings
        updates: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for key in list(stored):
            tensor, name = stored.pop(key).float(), key.removeprefix(_PREFIX)
            module, _, part = name.rpartition(".lora_")
            if module:
                updates[module][f"lora_{part}"] = tensor
            else:
                self._replaced[name.replace(".base_layer.", ".")] = tensor
        # A module whose own weights are stored as well, as an embedding that is trained, has an update on these.
        for module in updates:
            self._replaced.pop(f"{module}.weight", None)
        for module, parts in updates.items():
            self._check_parts(module, parts)
        self._updates = updates

    def _check_parts(self, module: str, parts: Mapping[str, Tensor]) -> None:
        known = module in self._modules and parts.keys() <= _PARTS
        is_linear, is_embedding = parts.keys() >= _LINEAR, parts.keys() == _EMBEDDING
        is_conv = isinstance(self._modules.get(module), Conv1D)
        if not known or not (is_linear or is_embedding) or (is_conv and parts.keys() != _LINEAR):
            raise _unsupported(
                f"its adapter changes {module} in a way that is not known here ({', '.join(sorted(parts))})"
            )
        if "lora_B.bias" in parts and f"{module}.bias" not in self._file_of:
            raise _unsupported(f"its adapter adds a bias to {module}, which has none in the base model")

    def _check_names(self, changed: set[str]) -> None:
        there = self._file_of.keys() | self._aliases.keys()
        if missing := sorted(changed - there):
            raise model_invalid(
                f"The adapter changes {missing[0]}, which the weight files of its base model do not have; export "
                "another model."
            )
        for name, tensor in self._replaced.items():
            if self._stored_shape(name) != tuple(tensor.shape):
                raise model_invalid(f"{name} has another shape in the adapter than in its base model.")


def _file_of_each(folder: Path) -> dict[str, str]:
    """The weight file of each tensor."""
    if (folder / WEIGHTS).is_file():
        with safe_open(folder / WEIGHTS, "pt") as file:
            return dict.fromkeys(file.keys(), WEIGHTS)
    index: dict[str, str] = json.loads((folder / INDEX).read_text("utf-8"))["weight_map"]
    return index


def _aliases(model: torch.nn.Module, stored: Mapping[str, str]) -> dict[str, str]:
    """The tensor that the output layer shares with the embedding, where only that of the embedding is stored."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: source for name, source in tied.items() if name not in stored and source in stored}


def _unsupported(why: str) -> InvalidRequestError:
    return InvalidRequestError(f"The model cannot be exported: {why}.", "unsupported_model", "model")

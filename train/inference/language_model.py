"""A base model with the adapters that are loaded on it, and its forward pass for a batch of answers."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

from train.model.files import ADAPTER_WEIGHTS
from train.model.load import add_adapter
from train.model.load_errors import model_invalid

BASE = "__base__"
"""PEFT's name for the base model in a batch of several adapters."""
MAX_ADAPTERS = 8
"""Adapters that are kept in memory; of more, the least recently used one that answers nothing is removed."""


AdapterKey = tuple[Path, int, int]
"""Folder of an adapter, with the size and the time of change of its weights: a changed one is another one."""


@dataclass(frozen=True)
class Adapter:
    """An adapter in memory."""

    key: AdapterKey
    name: str
    """Its name in PEFT."""
    is_mixable: bool
    """Whether it can be computed in one batch with others. PEFT cannot do so for DoRA, and computes layers that were
    trained whole (`modules_to_save`) with those of the active adapter."""


class LanguageModel:
    """The model of an engine. Only the engine's thread calls it."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._base = model
        self._model: PreTrainedModel | PeftModel = model
        self._adapters: dict[AdapterKey, Adapter] = {}
        """The most recently used one last."""
        self._numbers = count(1)
        parameters = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        self._whole_layers: list[AuxiliaryTrainingWrapper] = []
        """Layers that an adapter in memory brought along whole."""

    @property
    def base(self) -> PreTrainedModel:
        return self._base

    @property
    def device(self) -> torch.device:
        device: torch.device = self._base.device
        return device

    def load(self, folder: Path, in_use: frozenset[AdapterKey]) -> Adapter:
        """The adapter in a folder, loaded if it is not in memory. Those `in_use` stay there.

        Raises `InvalidRequestError` (`model_invalid`) for a damaged adapter.
        """
        key = adapter_key(folder)
        adapter = self._adapters.pop(key, None)
        if adapter is None:
            name = f"adapter-{next(self._numbers)}"
            self._model = add_adapter(self._model, folder, name)
            adapter = Adapter(key, name, _is_mixable(self._model, name))
        self._adapters[key] = adapter
        self._remove_unused(in_use | {key})
        self._whole_layers = [each for each in self._model.modules() if isinstance(each, AuxiliaryTrainingWrapper)]
        return adapter

    def logits(
        self,
        tokens: Tensor,
        cache: DynamicCache,
        adapters: Sequence[Adapter | None],
        mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """The logits after the last token of each row, and the new tokens in `cache`.

        `adapters` has one entry for each row; where one of them is not mixable, it is that of all rows.
        """
        inputs: dict[str, Any] = {"input_ids": tokens, "attention_mask": mask, self._cache_name: cache}
        if positions is not None and self._takes_positions:
            inputs["position_ids"] = positions
        with torch.inference_mode(), self._active(adapters) as names:
            output = self._model(**inputs, **names, **self._options, use_cache=True)
        logits: Tensor = output.logits[:, -1]
        return logits

    @contextmanager
    def _active(self, adapters: Sequence[Adapter | None]) -> Iterator[dict[str, list[str]]]:
        """Compute each row with its adapter."""
        model = self._model
        if not isinstance(model, PeftModel):
            yield {}
            return
        used = {adapter for adapter in adapters if adapter is not None}
        if not used:
            with model.disable_adapter():
                yield {}
            return
        active = next(iter(used))
        if model.active_adapter != active.name:
            model.set_adapter(active.name, inference_mode=True)
        if len(used) == 1 and None not in adapters:
            yield {}
            return
        assert all(adapter.is_mixable for adapter in used), "the engine puts it into a batch of its own"
        # None of them has whole layers, and PEFT looks for those of each.
        for layer in self._whole_layers:
            layer.enable_adapters(False)
        try:
            yield {"adapter_names": [BASE if adapter is None else adapter.name for adapter in adapters]}
        except BaseException:
            _remove_hooks(model)
            raise
        finally:
            for layer in self._whole_layers:
                layer.enable_adapters(True)

    def _remove_unused(self, in_use: frozenset[AdapterKey]) -> None:
        for key in [key for key in self._adapters if key not in in_use]:
            if len(self._adapters) <= MAX_ADAPTERS:
                return
            assert isinstance(self._model, PeftModel)
            self._model.delete_adapter(self._adapters.pop(key).name)


def adapter_key(folder: Path) -> AdapterKey:
    """Raises `InvalidRequestError` (`model_invalid`) for a folder without the weights of an adapter."""
    try:
        found = (folder / ADAPTER_WEIGHTS).stat()
    except OSError:
        raise model_invalid(f"The adapter has no {ADAPTER_WEIGHTS} any more; choose another model.") from None
    return folder, found.st_size, found.st_mtime_ns


def _remove_hooks(model: PeftModel) -> None:
    """Remove what PEFT leaves in its layers after a failed pass with `adapter_names`, and would call in the next."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
            module._forward_pre_hooks.clear()
            module._forward_pre_hooks_with_kwargs.clear()


def _is_mixable(model: PeftModel, name: str) -> bool:
    config: Any = model.peft_config[name]
    others = ("modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication")
    return not config.use_dora and not any(getattr(config, field, None) for field in others)

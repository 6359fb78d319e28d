"""Description of an adapter from its files, and whether it fits its base model. Nothing is loaded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.model_ref import is_hub_id
from ftlab.schemas.lora import LoraConfig
from train.model.files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PICKLE_PATTERNS,
    ModelFacts,
    ModelFiles,
    has_any,
    invalid_model,
    read_json,
    read_weight_header,
    unsupported_model,
    wanted_files,
)
from train.model.folder import FolderFiles
from train.model.layers import EMBEDDINGS, HEADS, ModelLayers, last_part
from train.model.preflight import lora_settings

INEXPRESSIBLE = (
    "alora_invocation_tokens", "arrow_config", "exclude_modules", "layer_replication", "layers_pattern",
    "layers_to_transform", "lora_bias", "megatron_config", "rank_pattern", "alpha_pattern", "target_parameters",
    "trainable_token_indices", "use_bdlora", "use_qalora",
)  # fmt: skip
"""Settings of PEFT's `LoraConfig` that change the trained model and that `lora` of a job does not have."""
LOCAL_NAMES = ("/", "folder:", "job:", "model:")
"""Beginnings of a base model's name that is not a hub id."""
_PREFIXES = re.compile(r"(?:(?:base_model|model|language_model|transformer|gpt_neox)\.)*")
_PART = re.compile(r"\.lora_(?:embedding_)?(?P<part>[AB])(?:\.weight)?$")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class AdapterFacts:
    """A LoRA adapter that a job can continue, as its files describe it."""

    base: str
    """As in `base_name`."""
    settings: LoraConfig
    size_bytes: int
    """Bytes of the files that training reads."""
    shapes: Mapping[str, Shape] = field(default_factory=dict, compare=False, repr=False)
    """Shape of each weight in the file."""


def is_adapter(files: ModelFiles) -> bool:
    """Whether the files are an adapter. transformers takes them for one too, even beside a whole model."""
    return ADAPTER_CONFIG in files.sizes


def describe_adapter(files: ModelFiles) -> AdapterFacts:
    """Check that the files are a LoRA adapter that can be continued, and describe it.

    Raise `InvalidRequestError`: `unsupported_model` for another kind of adapter, `unsafe_weights` for pickles, and
    `model_invalid` for files that are damaged or missing; and `NotFoundError` (`model_not_found`) without weights.
    """
    document = read_json(files, ADAPTER_CONFIG)
    _check_kind(document)
    base = base_name(document)
    settings = lora_settings(document)
    if ADAPTER_WEIGHTS not in files.sizes:
        if has_any(files, PICKLE_PATTERNS):
            raise InvalidRequestError(
                "The adapter has pickle weights only, which can run code when read; save it with safetensors.",
                "unsafe_weights",
                "model",
            )
        raise NotFoundError(f"The adapter has no {ADAPTER_WEIGHTS}.", "model_not_found", "model")
    shapes = read_weight_header(files, ADAPTER_WEIGHTS).shapes
    if not any(_PART.search(name) for name in shapes):
        raise invalid_model(f"{ADAPTER_WEIGHTS} holds no LoRA weights; save the adapter again.")
    return AdapterFacts(base, settings, sum(files.sizes[name] for name in wanted_files(files.sizes)), shapes)


def adapter_facts(folder: Path) -> AdapterFacts | None:
    """The result of `describe_adapter` for a folder; `None` where it holds no adapter."""
    files = FolderFiles(folder)
    return describe_adapter(files) if is_adapter(files) else None


def check_adapter(folder: Path, base: ModelFacts) -> None:
    """Raise what `describe_adapter` and `check_fits` raise for the adapter in a folder."""
    check_fits(describe_adapter(FolderFiles(folder)), base)


def base_name(document: Mapping[str, Any]) -> str:
    """The base model that an `adapter_config.json` names: a hub id (`org/name` or `org/name@revision`) or a name
    that begins like one of `LOCAL_NAMES`.

    Raise `InvalidRequestError` (`model_invalid`) for one that names none.
    """
    name, revision = document.get("base_model_name_or_path"), document.get("revision")
    if not isinstance(name, str) or not name:
        raise invalid_model(
            f"{ADAPTER_CONFIG} of the adapter does not name a base model: set base_model_name_or_path to its hub id or "
            "absolute path."
        )
    if not is_hub_id(name):
        if name.startswith(LOCAL_NAMES):
            return name
        raise invalid_model(
            f"{ADAPTER_CONFIG} of the adapter names the base model {name[:100]!r}, which is neither a hub id like "
            "'org/name' nor an absolute path. Correct base_model_name_or_path."
        )
    return f"{name}@{revision}" if isinstance(revision, str) and revision else name


def check_fits(adapter: AdapterFacts, base: ModelFacts | None) -> None:
    """Raise `InvalidRequestError` (`model_invalid`) for an adapter of a model with other layers than its base model.

    Layers whose shapes cannot be compared (quantised weights, experts) are left to the load.
    """
    layers = base.layers if base else None
    if layers is None or layers.quantisation is not None or layers.has_fused_experts:
        return
    stored = {_bare(name): shape for name, shape in layers.shapes.items()}
    for module, expected in _expected_shapes(adapter).items():
        shape = stored.get(_bare(module))
        if shape is None:
            if _may_be_tied(module, layers) or "." not in module:
                continue
            raise invalid_model(
                f"The adapter does not fit its base model, which has no layer {module[:200]}. Name the model that the "
                f"adapter was trained on in {ADAPTER_CONFIG}."
            )
        # The weights of a Conv1D (GPT-2) are stored transposed.
        if sorted(shape) != sorted(expected):
            raise invalid_model(
                f"The adapter does not fit its base model: {module[:200]} has the shape {_shown(shape)} there, and the "
                f"adapter is for {_shown(expected)}. Name the model that the adapter was trained on in "
                f"{ADAPTER_CONFIG}."
            )


def _check_kind(document: Mapping[str, Any]) -> None:
    kind, task = document.get("peft_type"), document.get("task_type")
    if kind is None:
        raise invalid_model(f"{ADAPTER_CONFIG} of the adapter has no peft_type; save the adapter again with PEFT.")
    if kind != "LORA":
        raise unsupported_model(
            f"The adapter is of the type {str(kind)[:50]!r}, and jobs continue adapters of type LORA only."
        )
    if task not in (None, "CAUSAL_LM"):
        raise unsupported_model(
            f"The adapter is for the task {str(task)[:50]!r}, and jobs continue adapters for CAUSAL_LM only."
        )
    unknown = [name for name in INEXPRESSIBLE if document.get(name)]
    if document.get("bias", "none") != "none":
        unknown.append("bias")
    if unknown:
        raise unsupported_model(
            f"{ADAPTER_CONFIG} of the adapter sets {', '.join(unknown)}, which jobs do not support; merge the adapter "
            "into its base model and start from that."
        )


def _expected_shapes(adapter: AdapterFacts) -> dict[str, Shape]:
    """The shape that the weights of each module must have in the base model."""
    parts: dict[str, dict[str, Shape]] = {}
    expected: dict[str, Shape] = {}
    for name, shape in adapter.shapes.items():
        own = name.removeprefix("base_model.model.")
        if match := _PART.search(own):
            parts.setdefault(own[: match.start()], {})[match["part"]] = shape
        elif own.endswith(".weight") and len(shape) == 2:
            expected[own.removesuffix(".weight")] = shape
    r = adapter.settings.r
    for module, pair in parts.items():
        a, b = pair.get("A", ()), pair.get("B", ())
        if len(a) != 2 or len(b) != 2 or a[0] != r or b[1] != r:
            raise invalid_model(
                f"{ADAPTER_WEIGHTS} and {ADAPTER_CONFIG} of the adapter do not match: the update matrices of "
                f"{module[:200]} have the shapes {_shown(a)} and {_shown(b)}, and the rank (r) is {r}. Save the "
                "adapter again."
            )
        expected[module] = (b[0], a[1])
    return expected


def _bare(module: str) -> str:
    """The name without the prefixes that depend on the class that a model was saved with."""
    return _PREFIXES.sub("", module, count=1)


def _may_be_tied(module: str, layers: ModelLayers) -> bool:
    return layers.is_tied and last_part(module) in HEADS | EMBEDDINGS


def _shown(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "(missing)"

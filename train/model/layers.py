"""The layers of a base model, from its config and the headers of its weights; no weights are loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EMBEDDINGS = frozenset(
    {"embed_tokens", "wte", "wpe", "word_embeddings", "embed_positions", "embed_in", "tok_embeddings"}
)
"""Last part of the names that modules of embeddings have."""
HEADS = frozenset({"lm_head", "embed_out", "output", "score"})
"""Last part of the names of output layers."""
LEARNED_POSITIONS = frozenset({"wpe", "embed_positions"})
"""Embeddings of positions: a row that is longer than they are cannot be computed at all."""
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""Names of the number of positions in configs."""


@dataclass(frozen=True)
class ModelLayers:
    """Properties of a model that a job's settings must fit."""

    modules: Mapping[str, bool]
    """Every module by its name in the weights, and whether LoRA can adapt it."""
    num_embeddings: int | None
    """Rows of the token embedding; `None` where neither the weights nor the config say so."""
    is_tied: bool
    """Whether the output layer uses the weights of the token embedding."""
    max_positions: int | None
    """Positions that the model was made for, with its RoPE scaling; `None` where any number is possible."""
    has_learned_positions: bool = False
    quantisation: str | None = None
    """Method that the stored weights were quantised with."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)
    """Shapes of the weight matrices by the names of their modules."""

    @classmethod
    def read(cls, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> "ModelLayers":
        """Read `config.json`, and the shapes of the weights by their names."""
        text = config.get("text_config")
        inner = text if isinstance(text, Mapping) else config
        quantised = config.get("quantization_config")
        names = {name.rsplit(".", 2)[-2] for name in shapes if name.count(".")}
        return cls(
            _modules(shapes),
            _num_embeddings(inner, shapes),
            _is_tied(config, inner, names),
            _max_positions(inner),
            bool(names & LEARNED_POSITIONS),
            str(quantised.get("quant_method", "unknown"))[:50] if isinstance(quantised, Mapping) else None,
            {
                name.removesuffix(".weight"): shape
                for name, shape in shapes.items()
                if name.endswith(".weight") and len(shape) == 2
            },
        )

    @property
    def linear_names(self) -> list[str]:
        """Last part of the names of the linear layers, sorted."""
        names = {last_part(name) for name, is_adaptable in self.modules.items() if is_adaptable}
        return sorted(names - EMBEDDINGS - HEADS)

    @property
    def has_fused_experts(self) -> bool:
        """Whether layers are stored under other names than they have once loaded: experts are joined then."""
        return any(".experts." in name for name in self.modules)


def last_part(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _modules(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, bool]:
    modules: dict[str, bool] = {}
    for name, shape in shapes.items():
        module, dot, kind = name.rpartition(".")
        if not dot:
            continue
        # Quantised weights have other names and shapes, as `qweight`.
        is_weight = (kind == "weight" and len(shape) >= 2) or kind in ("qweight", "weight_packed")
        modules[module] = modules.get(module, False) or is_weight
        while "." in module:
            module = module.rpartition(".")[0]
            modules.setdefault(module, False)
    return modules


def _num_embeddings(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    tokens = EMBEDDINGS - LEARNED_POSITIONS
    found = [
        shape[0]
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and last_part(name.removesuffix(".weight")) in tokens
    ]
    return max(found) if found else _positive(config.get("vocab_size"))


def _is_tied(config: Mapping[str, Any], inner: Mapping[str, Any], names: set[str]) -> bool:
    for each in (config, inner):
        if isinstance(stated := each.get("tie_word_embeddings"), bool):
            return stated
    # Tied weights are saved once.
    return bool(names & EMBEDDINGS) and not names & HEADS


def _max_positions(config: Mapping[str, Any]) -> int | None:
    stated = next((number for name in POSITIONS if (number := _positive(config.get(name)))), None)
    scaling = config.get("rope_parameters") or config.get("rope_scaling")
    if stated is None or not isinstance(scaling, Mapping):
        return stated
    factor = scaling.get("factor")
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not 1 <= factor <= 10_000:
        return stated
    original = _positive(scaling.get("original_max_position_embeddings")) or stated
    return max(stated, int(original * factor))


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

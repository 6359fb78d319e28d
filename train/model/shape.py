"""The dimensions of a base model from which its memory is estimated, read from its config and weight headers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from train.model.layers import EMBEDDINGS, HEADS, last_part

MEASURED_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})
"""Model types with the blocks that the estimate was measured on: RMSNorm, rotary positions, a gated MLP."""
ATTENTION_OUTPUTS = frozenset({"o_proj", "out_proj", "dense", "wo"})
"""Last part of the names of linear layers that read the result of the attention."""
MLP_INPUTS = frozenset({"gate_proj", "up_proj", "gate_up_proj", "fc1", "c_fc", "dense_h_to_4h", "w1", "w3", "fc_in"})
MLP_OUTPUTS = frozenset({"down_proj", "fc2", "dense_4h_to_h", "w2", "fc_out"})
GATES = frozenset({"gate_proj", "gate_up_proj", "w3"})
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""Names of the number of experts in configs."""
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
HIDDEN = ("hidden_size", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
HEAD_COUNTS = ("num_attention_heads", "n_head", "num_heads")
INTERMEDIATE = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")


@dataclass(frozen=True)
class ModelShape:
    """Dimensions of a dense decoder."""

    model_type: str
    hidden: int
    num_layers: int
    num_heads: int
    attention_width: int
    """Width of the queries: heads times their dimension."""
    key_width: int
    """Width of the keys, and of the values."""
    intermediate: int
    vocab: int
    dtype: str
    """Data type of the stored weights."""
    num_parameters: int
    """Once loaded: tied embeddings count once."""
    is_tied: bool
    is_gated: bool
    """Whether the MLP multiplies two projections of its input."""
    linears: Mapping[str, tuple[int, int]]
    """The linear layers inside the blocks by their names in the weights, with their two widths."""
    head_parameters: int = 0
    """Of `num_parameters`, those of a language-model head that is not tied to the embeddings."""

    @property
    def without_head(self) -> "ModelShape":
        """The shape of a reward model, whose own head is small enough not to count."""
        return replace(
            self, num_parameters=self.num_parameters - self.head_parameters, is_tied=False, head_parameters=0
        )

    @property
    def linear_parameters(self) -> int:
        return sum(prod(widths) for widths in self.linears.values())

    @property
    def largest_weight(self) -> int:
        """Numbers of the largest tensor."""
        return max([self.vocab * self.hidden, *(prod(widths) for widths in self.linears.values())])

    @property
    def is_measured(self) -> bool:
        return self.model_type in MEASURED_TYPES

    @classmethod
    def read(cls, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]] | None) -> "ModelShape | None":
        """Read `config.json` and the shapes of the weights by their names; `None` for a model of another kind.

        Other kinds are quantised weights, experts, and architectures that are no decoder of equal blocks. Without
        `shapes`, they are derived from the config where the model type is one of `MEASURED_TYPES`.
        """
        text = config.get("text_config")
        inner = {**config, **text} if isinstance(text, Mapping) else config
        if "quantization_config" in config or any(_first(inner, (name,)) for name in EXPERTS):
            return None
        hidden, layers, heads = _first(inner, HIDDEN), _first(inner, LAYERS), _first(inner, HEAD_COUNTS)
        if not hidden or not layers or not heads:
            return None
        model_type, vocab = str(inner.get("model_type"))[:100], _first(inner, ("vocab_size",))
        key_heads = _first(inner, ("num_key_value_heads",)) or heads
        head_dim = _first(inner, ("head_dim",)) or max(1, hidden // heads)
        intermediate = _first(inner, INTERMEDIATE) or 4 * hidden
        tied = inner.get("tie_word_embeddings", config.get("tie_word_embeddings"))
        if shapes is None:
            if model_type not in MEASURED_TYPES or not vocab:
                return None
            queries, keys = heads * head_dim, key_heads * head_dim
            shapes = derived_shapes(hidden, layers, queries, keys, intermediate, vocab, is_tied=tied is True)
        linears = _linears(shapes)
        if not linears or any(".experts." in name for name in shapes):
            return None
        head = sum(prod(shape) for name, shape in shapes.items() if _weight_of(name) in HEADS and len(shape) == 2)
        is_tied = tied if isinstance(tied, bool) else not head
        return cls(
            model_type,
            hidden,
            layers,
            heads,
            heads * head_dim,
            key_heads * head_dim,
            intermediate,
            vocab or _embedding_rows(shapes),
            _dtype(config),
            sum(map(prod, shapes.values())) - (head if is_tied else 0),
            is_tied,
            any(_weight_of(name) in GATES for name in shapes),
            linears,
            0 if is_tied else head,
        )


def _dtype(config: Mapping[str, Any]) -> str:
    stated = config.get("dtype") or config.get("torch_dtype")
    return stated if isinstance(stated, str) and stated in DTYPE_BYTES else "float32"


def _linears(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    found = {}
    for name, shape in shapes.items():
        if name.endswith(".weight") and len(shape) == 2 and _weight_of(name) not in EMBEDDINGS | HEADS:
            found[name.removesuffix(".weight")] = (shape[0], shape[1])
    return found


def derived_shapes(
    hidden: int, layers: int, queries: int, keys: int, intermediate: int, vocab: int, *, is_tied: bool
) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a decoder with a gated MLP, without biases and the norms of single heads."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    if not is_tied:
        shapes["lm_head.weight"] = (vocab, hidden)
    for number in range(layers):
        block = f"model.layers.{number}"
        shapes |= {f"{block}.input_layernorm.weight": (hidden,), f"{block}.post_attention_layernorm.weight": (hidden,)}
        shapes[f"{block}.self_attn.q_proj.weight"] = (queries, hidden)
        shapes[f"{block}.self_attn.k_proj.weight"] = shapes[f"{block}.self_attn.v_proj.weight"] = (keys, hidden)
        shapes[f"{block}.self_attn.o_proj.weight"] = (hidden, queries)
        shapes[f"{block}.mlp.gate_proj.weight"] = shapes[f"{block}.mlp.up_proj.weight"] = (intermediate, hidden)
        shapes[f"{block}.mlp.down_proj.weight"] = (hidden, intermediate)
    return shapes


def _embedding_rows(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return max((shape[0] for name, shape in shapes.items() if _weight_of(name) in EMBEDDINGS), default=0)


def _weight_of(name: str) -> str:
    return last_part(name.removesuffix(".weight"))


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The first of these settings that is a positive whole number."""
    values = (config.get(name) for name in names)
    return next(
        (value for value in values if isinstance(value, int) and not isinstance(value, bool) and value > 0), None
    )

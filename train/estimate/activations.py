"""Bytes that a forward pass keeps for the backward pass, and those of the language-model head and its loss.

Counted from what autograd saves in transformers' decoder blocks with SDPA attention, in PEFT's LoRA layers, and in
TRL's chunked log-probabilities; `tests/bench/estimate_accuracy.py` compares the sums with measured peaks.
"""

from collections.abc import Collection
from dataclasses import dataclass

from train.model.layers import last_part
from train.model.shape import ATTENTION_OUTPUTS, MLP_INPUTS, MLP_OUTPUTS, ModelShape

TILE_TOKENS, TILE_WIDTH = 4096, 32768
"""Most tokens, and vocabulary entries, that TRL projects at once (its `TOKEN_CHUNK_SIZE` and chunk size)."""
CPU_BACKWARD_TILES = 7.25
"""Float32 copies of a tile that TRL's backward pass holds at once where there is no Triton, besides the tile itself."""
CPU_FORWARD_TILES = 3.25
"""Float32 copies of a tile that the forward pass holds there."""


@dataclass(frozen=True)
class Precision:
    """Bytes of one number."""

    weights: int
    """In the base weights."""
    residual: int
    """In the stream between the blocks."""
    compute: int
    """In the results of linear layers."""

    @property
    def is_mixed(self) -> bool:
        return self.compute != self.residual


@dataclass(frozen=True)
class Batch:
    """Tokens of one forward pass."""

    num_rows: int
    length: int
    """Tokens of the longest row, to which the others are padded."""
    is_padded: bool
    """Whether rows differ in length, so that the attention needs a mask."""

    @property
    def num_tokens(self) -> int:
        return self.num_rows * self.length


@dataclass(frozen=True)
class Adapters:
    """The LoRA adapters of a run."""

    modules: Collection[str]
    """Adapted linear layers, by their names in the weights."""
    r: int
    has_dropout: bool
    use_dora: bool


def block_bytes(shape: ModelShape, batch: Batch, precision: Precision, adapters: Adapters | None) -> int:
    """Bytes that all blocks keep for the backward pass; `adapters` is `None` where all weights are trained."""
    return shape.num_layers * (
        _norms(shape, batch, precision, trained=adapters is None) + _attention(shape, batch, precision)
    ) + (batch.num_tokens * (_mlp(shape, precision) + _inputs(shape, precision, adapters)))


def backward_bytes(shape: ModelShape, batch: Batch, precision: Precision) -> int:
    """Bytes of the gradients with respect to activations while the backward pass is in one block."""
    width = (3 if shape.is_gated else 2) * shape.intermediate
    return batch.num_tokens * (width * precision.compute + 2 * shape.hidden * precision.residual)


def forward_bytes(shape: ModelShape, batch: Batch, precision: Precision) -> int:
    """Bytes of the activations that a block holds at once where nothing is kept, as in an evaluation."""
    width = (3 if shape.is_gated else 2) * shape.intermediate
    return batch.num_tokens * (width * precision.compute + 3 * shape.hidden * precision.residual)


def head_bytes(
    shape: ModelShape, batch: Batch, precision: Precision, *, use_cuda: bool, is_trained: bool, backward: bool = True
) -> int:
    """Bytes of the projection to the vocabulary and of the loss. TRL computes them in tiles, in both directions."""
    tokens, width = min(batch.num_tokens, TILE_TOKENS), min(shape.vocab, TILE_WIDTH)
    held = tokens * TILE_WIDTH * precision.compute
    if not use_cuda:
        held += int(tokens * width * 4 * (CPU_BACKWARD_TILES if backward else CPU_FORWARD_TILES))
        # Without a matrix product of mixed types, tile and weights are converted.
        held += 4 * width * (tokens + shape.hidden) if precision.compute == 2 and backward else 0
    if precision.compute < precision.weights:
        held += width * shape.hidden * precision.compute
    if backward:
        held += 4 * batch.num_tokens * shape.hidden
        held += 4 * shape.vocab * shape.hidden if is_trained else 0
    return held


def _norms(shape: ModelShape, batch: Batch, precision: Precision, *, trained: bool) -> int:
    """The two norms of a block: their input in float32, and the normalised input where its scale is trained."""
    return batch.num_tokens * 2 * shape.hidden * (4 + (precision.residual if trained else 0))


def _attention(shape: ModelShape, batch: Batch, precision: Precision) -> int:
    """Queries, keys, values, result and log-sum-exp of SDPA. With a mask, keys are repeated for every head."""
    keys = shape.attention_width if batch.is_padded else shape.key_width
    held = batch.num_tokens * (2 * (shape.attention_width + keys) * precision.compute + 4 * shape.num_heads)
    # The mask is converted from Boolean to numbers by each attention.
    return held + (batch.num_tokens * batch.length * precision.compute if batch.is_padded else 0)


def _mlp(shape: ModelShape, precision: Precision) -> int:
    """Bytes per token, in all blocks: the input of the activation and the factors of the product."""
    return shape.num_layers * (3 if shape.is_gated else 1) * shape.intermediate * precision.compute


def _inputs(shape: ModelShape, precision: Precision, adapters: Adapters | None) -> int:
    """Bytes per token of the inputs of trained linear layers, in all blocks.

    Layers with the same input share it, unless each converts it to another type for itself.
    """
    if adapters is None and not precision.is_mixed:
        return shape.num_layers * (2 * shape.hidden + shape.intermediate) * precision.compute
    modules = shape.linears if adapters is None else adapters.modules
    inputs = [(_role(name), _input_width(name, shape)) for name in modules]
    rank = extra = 0
    if adapters is not None:
        rank = len(inputs) * adapters.r * (precision.compute if precision.is_mixed else 4)
        extra = sum(5 * width for _, width in inputs) if adapters.has_dropout else 0
        extra += sum(2 * sum(shape.linears[name]) * precision.compute for name in modules) if adapters.use_dora else 0
    if precision.is_mixed:
        converts = adapters is not None
        kept = sum(width * precision.compute for role, width in inputs if converts or role in ("attention", "mlp"))
        kept += 0 if converts else shape.num_layers * shape.intermediate * precision.compute
    elif precision.compute == 4:
        shared = {"attention": shape.hidden, "mlp": shape.hidden, "mlp_output": shape.intermediate, "output": 0}
        roles = {role for role, _ in inputs}
        kept = shape.num_layers * sum(4 * width for role, width in shared.items() if role in roles)
    else:
        kept = sum(4 * width for _, width in inputs)  # each adapter converts to float32
    return kept + rank + extra


def _role(module: str) -> str:
    name = last_part(module)
    if name in MLP_INPUTS:
        return "mlp"
    if name in MLP_OUTPUTS:
        return "mlp_output"
    return "output" if name in ATTENTION_OUTPUTS else "attention"


def _input_width(module: str, shape: ModelShape) -> int:
    return {"mlp_output": shape.intermediate, "output": shape.attention_width}.get(_role(module), shape.hidden)

"""Keys and values of several sequences of different lengths, as one batch that is padded on the left.

All layers keep whole sequences, also those with a sliding window, whose limit is in the attention mask: padding moves
every token of a sequence by the same distance, and changes no distance between two of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

PADDABLE = frozenset({"full_attention", "sliding_attention"})
"""Types of layers whose sequences can be padded; the limits of a chunked one depend on the position in the batch."""


def can_pad(model: PreTrainedModel) -> bool:
    """Whether sequences of this model can be computed in one batch.

    Others, such as those with a recurrent state or with layers that share keys, are computed one at a time.
    """
    config = model.config.get_text_config(decoder=True)
    types = getattr(config, "layer_types", None) or ()
    layers = DynamicCache(config=model.config).layers
    is_plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    return is_plain and PADDABLE.issuperset(types) and not getattr(config, "num_kv_shared_layers", 0)


def new_cache(model: PreTrainedModel) -> DynamicCache:
    """An empty cache for one sequence."""
    return DynamicCache() if can_pad(model) else DynamicCache(config=model.config)


@dataclass
class PaddedCache:
    """The cache of a batch: one row for each sequence, and the number of its tokens."""

    cache: DynamicCache
    lengths: list[int]

    @property
    def width(self) -> int:
        return max(self.lengths)

    def joined(self, other: "PaddedCache") -> "PaddedCache":
        """The rows of both."""
        width = max(self.width, other.width)
        layers = zip(self.cache.layers, other.cache.layers, strict=True)
        merged = [
            (
                torch.cat([_widened(mine.keys, width), _widened(theirs.keys, width)]),
                torch.cat([_widened(mine.values, width), _widened(theirs.values, width)]),
            )
            for mine, theirs in layers
        ]
        return PaddedCache(DynamicCache(merged), self.lengths + other.lengths)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop the other rows, and the padding that only they needed."""
        before = self.width
        self.lengths = [self.lengths[row] for row in rows]
        surplus = before - self.width
        index = torch.tensor(rows)
        for layer in self.cache.layers:
            layer.keys = layer.keys[index.to(layer.keys.device), :, surplus:]
            layer.values = layer.values[index.to(layer.values.device), :, surplus:]

    def grow(self) -> None:
        """Note that each row has got one more token."""
        self.lengths = [length + 1 for length in self.lengths]

    def mask(self, device: torch.device) -> Tensor:
        """Which positions the next token of each row sees: its own tokens, and itself."""
        width = self.width
        return torch.tensor([[0] * (width - length) + [1] * (length + 1) for length in self.lengths], device=device)

    def positions(self, device: torch.device) -> Tensor:
        """The position of the next token of each row."""
        return torch.tensor([[length] for length in self.lengths], device=device)


def _widened(states: Tensor, width: int) -> Tensor:
    return pad(states, (0, 0, width - states.shape[-2], 0))

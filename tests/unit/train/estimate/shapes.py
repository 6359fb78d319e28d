"""Shapes of models whose numbers are known."""

from typing import Any

from ftlab.schemas import JobConfig
from train.model.shape import ModelShape

LLAMA_8B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
"""Llama 3 8B: 8,030,261,248 parameters."""
SMOLLM2_135M: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
"""SmolLM2 135M: 134,515,008 parameters."""


def shape_of(config: dict[str, Any]) -> ModelShape:
    shape = ModelShape.read(config, None)
    assert shape is not None
    return shape


def job(**settings: Any) -> JobConfig:
    """A job; names with two underscores are settings of `training`."""
    training = {name.removeprefix("training__"): value for name, value in settings.items() if "__" in name}
    rest = {name: value for name, value in settings.items() if "__" not in name}
    return JobConfig.model_validate({"model": "org/m", "dataset": "ds-1", "training": training, **rest})

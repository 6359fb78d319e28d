"""What is special about Gemma 2 and 3 in a GGUF file.

llama.cpp knows by the architecture what a config would say: which layers look at a window, how queries are scaled, and
the base of the positions in these layers. A model that differs from that is refused.
"""

import math

import gguf
from transformers import PretrainedConfig

from train.export.exportable import gguf_unsupported

GEMMA = ("gemma2", "gemma3_text")
SLIDING_PERIOD = {"gemma2": 2, "gemma3_text": 6}
"""The last layer of each such group looks at everything, and the others at a window."""
LAYERS_OF_27B = {"gemma2": 46, "gemma3_text": 62}
"""By this number of layers llama.cpp recognises the models whose queries are scaled otherwise."""
SLIDING_THETA = 10_000.0
ACTIVATION = "gelu_pytorch_tanh"


def is_gemma(config: PretrainedConfig) -> bool:
    return config.model_type in GEMMA


def has_shifted_norm(config: PretrainedConfig, source: str) -> bool:
    """Whether a tensor is a weight that transformers adds 1 to, and llama.cpp does not."""
    return is_gemma(config) and source.endswith("norm.weight")


def check_gemma(config: PretrainedConfig, *, is_untied: bool) -> None:
    """Raise `InvalidRequestError` (`unsupported_model`) for a model that llama.cpp would not compute alike."""
    kind = config.model_type
    if is_untied:
        raise gguf_unsupported("its output layer has other weights than its embedding, and llama.cpp reads one of them")
    if config.hidden_activation != ACTIVATION:
        raise gguf_unsupported(f"llama.cpp computes it with {ACTIVATION}, and the model has another activation")
    if getattr(config, "attention_bias", False):
        raise gguf_unsupported("llama.cpp has no bias in its attention")
    is_27b = config.num_hidden_layers == LAYERS_OF_27B[kind]
    scalar = config.hidden_size // config.num_attention_heads if is_27b else config.head_dim
    if not math.isclose(config.query_pre_attn_scalar, scalar):
        raise gguf_unsupported(f"llama.cpp scales its queries by {scalar}, not by {config.query_pre_attn_scalar}")
    period = SLIDING_PERIOD[kind]
    for layer, layer_type in enumerate(config.layer_types):
        if (layer_type == "full_attention") != (layer % period == period - 1):
            raise gguf_unsupported("other layers than in the published models look at a window")
    if kind == "gemma3_text":
        sliding = config.rope_parameters["sliding_attention"]
        if sliding["rope_type"] != "default" or not math.isclose(sliding["rope_theta"], SLIDING_THETA):
            raise gguf_unsupported(f"its layers with a window have another base of the positions than {SLIDING_THETA}")
        if getattr(config, "attn_logit_softcapping", None) is not None:
            raise gguf_unsupported("llama.cpp does not limit the attention of this architecture")


def add_gemma_settings(writer: gguf.GGUFWriter, config: PretrainedConfig) -> None:
    writer.add_sliding_window(config.sliding_window)
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    if config.final_logit_softcapping is not None:
        writer.add_final_logit_softcapping(config.final_logit_softcapping)

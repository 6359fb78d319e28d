"""Dimensions of base models, from their configs and weight headers."""

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.tiny_models import make_tiny_model
from tests.unit.train.estimate.shapes import LLAMA_8B, SMOLLM2_135M, shape_of
from train.model.folder import facts_of
from train.model.shape import ModelShape


@pytest.mark.parametrize(("config", "parameters"), [(LLAMA_8B, 8_030_261_248), (SMOLLM2_135M, 134_515_008)])
def test_parameters_of_known_models(config, parameters):
    assert shape_of(config).num_parameters == parameters


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_the_headers_give_the_parameters_of_the_loaded_model(tmp_path, architecture):
    folder = make_tiny_model(tmp_path, architecture=architecture)
    shape = facts_of(folder).shape
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    assert shape is not None
    assert shape.num_parameters == model.num_parameters()
    linears = [module for name, module in model.named_modules() if name.endswith("_proj")]
    assert shape.linear_parameters == sum(module.weight.numel() for module in linears)
    assert (shape.num_heads, shape.key_width, shape.is_gated, shape.is_tied) == (4, 32, True, True)


def test_a_tied_head_that_is_stored_counts_once():
    shapes = {"model.embed_tokens.weight": (100, 8), "lm_head.weight": (100, 8), "model.layers.0.q_proj.weight": (8, 8)}
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 100}
    tied, untied = (ModelShape.read(sizes | {"tie_word_embeddings": value}, shapes) for value in (True, False))
    assert tied is not None
    assert untied is not None
    assert (tied.num_parameters, untied.num_parameters) == (864, 1664)


@pytest.mark.parametrize(
    "more",
    [
        {"num_experts": 8},
        {"num_local_experts": 8},
        {"quantization_config": {"quant_method": "gptq"}},
        {"hidden_size": "wide"},
        {"num_hidden_layers": 0},
        {"model_type": "gpt2"},
        {"vocab_size": True},
    ],
)
def test_models_of_another_kind_have_no_shape(more):
    assert ModelShape.read(LLAMA_8B | more, None) is None

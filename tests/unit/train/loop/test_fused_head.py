"""A model is only trained and measured with a loss that is its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertDecoderConfig,
    ModernBertDecoderForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
)

from ftlab.errors import InvalidRequestError
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.evaluators import Evaluator
from tests.unit.train.runs import Job, Link
from train.loop.fused_head import add_fused_head, check_fused_head

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def modern_bert(vocab_size: int = 64) -> ModernBertDecoderForCausalLM:
    """Between its last hidden states and its output layer are a dense layer, an activation and a normalisation."""
    shape = {name: value for name, value in SHAPE.items() if name not in ("num_key_value_heads", "head_dim")}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    return ModernBertDecoderForCausalLM(ModernBertDecoderConfig(**shape | {"vocab_size": vocab_size}, **ids))


def recurrent_gemma() -> RecurrentGemmaForCausalLM:
    """Its soft cap has a name that TRL does not know."""
    model = RecurrentGemmaForCausalLM(RecurrentGemmaConfig(**SHAPE, lru_width=32, logits_soft_cap=1.0))
    with torch.no_grad():
        model.lm_head.weight.normal_()
    return model


@pytest.mark.parametrize("make", [modern_bert, recurrent_gemma])
def test_a_model_that_does_more_around_its_output_layer_is_refused(make: Any) -> None:
    torch.manual_seed(0)
    with pytest.raises(InvalidRequestError, match="cannot be computed from its output layer") as caught:
        add_fused_head(make())
    assert caught.value.code == "unsupported_model"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("model_class", "config"),
    [
        (LlamaForCausalLM, LlamaConfig(**SHAPE)),
        (Gemma2ForCausalLM, Gemma2Config(**SHAPE, query_pre_attn_scalar=8)),
        (CohereForCausalLM, CohereConfig(**SHAPE, pad_token_id=0, bos_token_id=1, eos_token_id=2)),
    ],
    ids=["llama", "gemma2", "cohere"],
)
@pytest.mark.parametrize("scale", [1e-4, 0.02, 1.0], ids=lambda scale: f"logits {scale}")
def test_scales_and_caps_that_trl_knows_are_accepted(
    model_class: Any, config: Any, dtype: torch.dtype, scale: float
) -> None:
    torch.manual_seed(0)
    model = model_class(config).to(dtype)
    with torch.no_grad():
        model.get_output_embeddings().weight.normal_(std=scale)
    add_fused_head(model)
    assert model.training


def test_the_temperature_of_the_head_is_taken_into_account(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "models" / "org--tiny", scale=3.0)
    grpo = {"type": "grpo", "rewards": [{"type": "length", "max_length": 9}], "temperature": 0.5, "num_generations": 2}
    row = {"prompt_ids": [5], "reference": ""}
    trainer = Evaluator(tmp_path, tmp_path / "models", row, method=grpo).trainer
    check_fused_head(trainer.model, 0.5)
    with pytest.raises(InvalidRequestError):
        check_fused_head(trainer.model, 1.0)


def test_no_job_trains_such_a_model(job: Job, tmp_path: Path) -> None:
    job.models = tmp_path / "models"
    folder = make_tiny_model(job.models / "org--tiny")
    vocabulary = AutoModelForCausalLM.from_pretrained(folder).config.vocab_size
    modern_bert(vocabulary).save_pretrained(folder)
    link = Link()
    with pytest.raises(InvalidRequestError, match=r"this model \(modernbert-decoder\)"):
        job.train(link, tuning="full")
    assert not link.series("loss")


def test_a_pass_of_the_check_draws_no_random_numbers() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    before = torch.get_rng_state()
    add_fused_head(model)
    assert torch.equal(torch.get_rng_state(), before)

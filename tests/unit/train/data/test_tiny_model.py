from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.tiny_models import make_tiny_model


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_the_tiny_model_loads_like_a_real_one(tmp_path: Path, architecture: str):
    folder = make_tiny_model(tmp_path / "model", architecture=architecture)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    messages = [{"role": "user", "content": "Grüße ☃"}, {"role": "assistant", "content": "Hello."}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert max(ids) < model.config.vocab_size == 512
    assert model.config.architectures == [{"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}[architecture]]
    assert torch.isfinite(model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss)


def test_the_seed_decides_the_weights(tmp_path: Path):
    first, again, other = (
        make_tiny_model(tmp_path / name, seed=seed) / "model.safetensors"
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()

"""The weights of a tuned model with its adapter merged, against PEFT's own merge, and the memory that this takes."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from ftlab.errors import InvalidRequestError
from tests.support.tiny_adapters import make_tiny_adapter
from tests.support.tiny_models import make_tiny_model
from train.export.merged_weights import MergedWeights
from train.export.safetensors_file import TYPES, write_safetensors
from train.model.base_model import BaseModel


def write(weights: MergedWeights, folder: Path) -> dict[str, torch.Tensor]:
    """Write all tensors as float32, and read them with the official reader."""
    folder.mkdir()
    for file, names in weights.files.items():
        write_safetensors(folder / file, [(name, "F32", weights.shape(name)) for name in names], weights.tensor)
    return {name: tensor for file in weights.files for name, tensor in load_file(folder / file).items()}


@pytest.mark.parametrize(
    ("settings", "is_tied"),
    [
        ({}, True),
        ({"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 5}}, False),
        ({"use_dora": True}, True),
        ({"target_modules": ["q_proj", "embed_tokens"], "modules_to_save": ["lm_head"]}, False),
        ({"target_modules": ["q_proj"], "modules_to_save": ["model.norm"]}, False),
    ],
    ids=["lora", "rslora, patterns", "dora", "embedding and head", "norm"],
)
def test_the_merged_weights_are_those_of_peft(tmp_path: Path, settings: dict[str, Any], is_tied: bool):
    base = make_tiny_model(tmp_path / "base", tied=is_tied)
    adapter = make_tiny_adapter(base, tmp_path / "adapter", seed=3, **settings)
    written = write(MergedWeights(BaseModel("org/tiny", base, "local-1", adapter)), tmp_path / "merged")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    expected = model.merge_and_unload().state_dict()
    original = load_file(base / "model.safetensors")
    assert written.keys() == original.keys()
    for name, tensor in written.items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
    assert any(not torch.equal(written[name], original[name]) for name in written)


def test_a_tied_head_that_the_adapter_changes_gets_weights_of_its_own(tmp_path: Path):
    base = make_tiny_model(tmp_path / "base", tied=True)
    adapter = make_tiny_adapter(base, tmp_path / "adapter", seed=3, target_modules=["q_proj", "embed_tokens"])
    weights = MergedWeights(BaseModel("org/tiny", base, "local-1", adapter))
    written, original = write(weights, tmp_path / "merged"), load_file(base / "model.safetensors")
    assert weights.is_untied
    assert torch.equal(written["lm_head.weight"], original["model.embed_tokens.weight"])
    assert not torch.equal(written["model.embed_tokens.weight"], original["model.embed_tokens.weight"])


def test_no_more_than_one_tensor_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = make_tiny_model(tmp_path / "base", layers=6)
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(base, max_shard_size="100KB")
    (base / "model.safetensors").unlink(missing_ok=True)
    adapter = make_tiny_adapter(base, tmp_path / "adapter", seed=3)
    weights = MergedWeights(BaseModel("org/tiny", base, "local-1", adapter))
    assert len(weights.files) > 1
    alive: list[weakref.ref[torch.Tensor]] = []
    peak = 0
    read = MergedWeights.tensor

    def watched(self: MergedWeights, name: str) -> torch.Tensor:
        nonlocal peak
        tensor = read(self, name)
        alive.append(weakref.ref(tensor))
        peak = max(peak, sum(one.nbytes for ref in alive if (one := ref()) is not None))
        return tensor

    monkeypatch.setattr(MergedWeights, "tensor", watched)
    (tmp_path / "merged").mkdir()
    for file, names in weights.files.items():
        entries = [(name, "F32", weights.shape(name)) for name in names]
        write_safetensors(tmp_path / "merged" / file, entries, lambda name: weights.tensor(name))
    largest = max(tensor.nbytes for file in weights.files for tensor in load_file(base / file).values())
    assert len(alive) == sum(map(len, weights.files.values()))
    assert peak == largest


def test_every_type_is_written_as_the_official_reader_reads_it(tmp_path: Path):
    tensors = {name: torch.arange(6).reshape(2, 3).to(dtype) for name, dtype in TYPES.items()}
    entries = [(name, name, (2, 3)) for name in tensors]
    write_safetensors(tmp_path / "all.safetensors", entries, tensors.__getitem__)
    with safe_open(tmp_path / "all.safetensors", "pt") as file:
        assert set(file.keys()) == set(tensors)
        for name, tensor in tensors.items():
            assert file.get_tensor(name).dtype is tensor.dtype
            assert torch.equal(file.get_tensor(name), tensor)


def test_what_cannot_be_merged_is_refused(tmp_path: Path):
    base = make_tiny_model(tmp_path / "base")
    adapter = make_tiny_adapter(base, tmp_path / "pissa", seed=3)
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text().replace('"init_lora_weights": true', '"init_lora_weights": "pissa"'))
    with pytest.raises(InvalidRequestError, match="init_lora_weights 'pissa'"):
        MergedWeights(BaseModel("org/tiny", base, "local-1", adapter))
    dora = make_tiny_adapter(base, tmp_path / "dora", seed=3, target_modules=["embed_tokens"], use_dora=True)
    with pytest.raises(InvalidRequestError, match=r"changes model\.embed_tokens in a way that is not known"):
        MergedWeights(BaseModel("org/tiny", base, "local-1", dora))
    other = make_tiny_model(tmp_path / "other", layers=1)
    larger = make_tiny_adapter(base, tmp_path / "larger", seed=3)
    with pytest.raises(InvalidRequestError, match=r"model\.layers\.1"):
        MergedWeights(BaseModel("org/tiny", other, "local-1", larger))

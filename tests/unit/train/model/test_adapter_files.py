"""Adapters that a job may continue, by their files alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from ftlab.errors import FineTuneLabError
from ftlab.schemas.lora import LoraConfig
from tests.support.model_folders import write_adapter, write_linear_model, write_model
from train.model.adapter_files import AdapterFacts, adapter_facts, base_name, check_fits
from train.model.folder import facts_of

Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


def refused(folder: Path) -> tuple[str, str]:
    with pytest.raises(FineTuneLabError) as caught:
        adapter_facts(folder)
    assert caught.value.param == "model"
    return caught.value.code, caught.value.message


def described(folder: Path) -> AdapterFacts:
    facts = adapter_facts(folder)
    assert facts is not None
    return facts


def test_an_adapter_is_described(tmp_path: Path):
    folder = write_adapter(tmp_path / "a", "org/base", use_rslora=True, rank_pattern={}, bias="none", revision="v1")
    facts = described(folder)
    assert (facts.base, facts.settings.target_modules) == ("org/base@v1", ["q_proj"])
    assert facts.settings == LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj"], use_rslora=True)
    assert facts.size_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert adapter_facts(write_model(tmp_path / "model")) is None


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"peft_type": None}, "model_invalid", "has no peft_type"),
        ({"peft_type": "IA3"}, "unsupported_model", "'IA3'"),
        ({"task_type": "SEQ_CLS"}, "unsupported_model", "'SEQ_CLS'"),
        ({"rank_pattern": {"q_proj": 8}}, "unsupported_model", "sets rank_pattern"),
        ({"bias": "all", "lora_bias": True}, "unsupported_model", "sets lora_bias, bias"),
        ({"base_model_name_or_path": None}, "model_invalid", "does not name a base model"),
        ({"base_model_name_or_path": "../base"}, "model_invalid", "neither a hub id"),
        ({"base_model_name_or_path": ["org/base"]}, "model_invalid", "does not name a base model"),
        ({"r": "many"}, "model_invalid", "cannot be read"),
        ({"r": 10**6}, "model_invalid", "cannot be read"),
        ({"target_modules": r".*\.(q|v)_proj"}, "model_invalid", "is a pattern"),
        ({"init_lora_weights": "pissa"}, "model_invalid", "changes the base model"),
    ],
)
def test_settings_that_cannot_be_continued(tmp_path: Path, settings: dict[str, Any], code: str, words: str):
    found = refused(write_adapter(tmp_path / "a", "org/base", **settings))
    assert found[0] == code
    assert words in found[1]


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, b"\xff"])
def test_a_config_that_is_broken(tmp_path: Path, content: str | bytes):
    folder = write_adapter(tmp_path / "a", "org/base")
    (folder / "adapter_config.json").write_bytes(content.encode() if isinstance(content, str) else content)
    assert refused(folder)[0] == "model_invalid"


def test_weights_that_are_missing_or_damaged(tmp_path: Path):
    folder = write_adapter(tmp_path / "a", "org/base", without=["adapter_model.safetensors"])
    assert refused(folder)[0] == "model_not_found"
    (folder / "adapter_model.bin").write_bytes(b"x")
    assert refused(folder)[0] == "unsafe_weights"
    (folder / "adapter_model.safetensors").write_bytes(bytes(100))
    assert "is not a whole safetensors file" in refused(folder)[1]
    none = write_adapter(tmp_path / "b", "org/base", shapes={"base_model.model.lm_head.weight": [32, 4]})
    assert "holds no LoRA weights" in refused(none)[1]


@pytest.mark.parametrize("prefix", ["base_model.model.model.", "base_model.model."])
def test_an_adapter_fits_its_base_model_under_any_prefix(tmp_path: Path, prefix: str):
    layer = f"{prefix}layers.0.self_attn.q_proj"
    shapes = {f"{layer}.lora_A.weight": [2, 8], f"{layer}.lora_B.weight": [4, 2]}
    adapter = described(write_adapter(tmp_path / "a", "org/base", shapes=shapes))
    check_fits(adapter, facts_of(write_linear_model(tmp_path / "base")))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({f"{Q_PROJ}.lora_A.weight": [2, 16], f"{Q_PROJ}.lora_B.weight": [4, 2]}, "4 x 8 there, and the adapter is"),
        ({f"{Q_PROJ}.lora_A.weight": [3, 8], f"{Q_PROJ}.lora_B.weight": [4, 3]}, "the rank (r) is 2"),
        ({f"{Q_PROJ}.lora_A.weight": [2, 8]}, "2 x 8 and (missing)"),
        (
            {"base_model.model.model.layers.1.q_proj.lora_A.weight": [2, 8]}
            | {"base_model.model.model.layers.1.q_proj.lora_B.weight": [4, 2]},
            "has no layer model.layers.1.q_proj",
        ),
        (
            {f"{Q_PROJ}.lora_A.weight": [2, 8], f"{Q_PROJ}.lora_B.weight": [4, 2]}
            | {"base_model.model.model.embed_tokens.weight": [33, 4]},
            "embed_tokens has the shape 32 x 4",
        ),
    ],
)
def test_an_adapter_of_another_model(tmp_path: Path, shapes: dict[str, list[int]], words: str):
    adapter = described(write_adapter(tmp_path / "a", "org/base", shapes=shapes))
    with pytest.raises(FineTuneLabError) as caught:
        check_fits(adapter, facts_of(write_linear_model(tmp_path / "base")))
    assert caught.value.code == "model_invalid"
    assert words in caught.value.message


def test_what_cannot_be_compared_is_left_to_the_load(tmp_path: Path):
    adapter = described(write_adapter(tmp_path / "a", "org/base"))
    check_fits(adapter, None)
    base = write_linear_model(tmp_path / "base")
    config = json.loads((base / "config.json").read_text()) | {"quantization_config": {"quant_method": "bitsandbytes"}}
    (base / "config.json").write_text(json.dumps(config))
    other = {f"{Q_PROJ}.lora_A.weight": [2, 16], f"{Q_PROJ}.lora_B.weight": [4, 2]}
    check_fits(described(write_adapter(tmp_path / "b", "org/base", shapes=other)), facts_of(base))


def test_the_name_of_the_base_model():
    for name in ("org/base", "/models/base", "folder:mine", "job:job-1/step-3", "model:mdl-1"):
        assert base_name({"base_model_name_or_path": name, "revision": None}) == name
    assert base_name({"base_model_name_or_path": "/models/base", "revision": "v1"}) == "/models/base"

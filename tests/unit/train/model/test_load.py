"""Base models: loading, adapting and naming them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from bitsandbytes.functional import has_avx512bf16
from bitsandbytes.nn import Linear4bit
from peft import PeftModel, get_peft_model

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from train.model import load
from train.model.base_model import BaseModel, find_model
from train.model.load import load_model, lora_config
from train.model.model_card import name_base_model
from train.model.tokenizer import load_tokenizer


def config(**values) -> JobConfig:
    return JobConfig.model_validate({"model": "org/tiny", "dataset": "ds-1"} | values)


@pytest.fixture
def base(models: Path) -> BaseModel:
    return find_model("org/tiny", models)


@pytest.fixture
def adapter(base: BaseModel, tmp_path: Path) -> Path:
    """An adapter that changes what the model says, named as the service names its base."""
    adapted = get_peft_model(load_model(base, config(), use_cuda=False), lora_config(config(lora={"r": 2})))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.05)
    folder = tmp_path / "adapter"
    adapted.save_pretrained(folder)
    name_base_model(folder, base)
    return folder


def test_an_adapter_stands_for_its_base_and_itself(models: Path, base: BaseModel, adapter: Path):
    assert find_model(str(adapter), models) == BaseModel("org/tiny", base.folder, base.revision, adapter)


@pytest.mark.parametrize(
    ("saved", "tuning", "wanted", "use_cuda", "dtype"),
    [
        ("float32", "lora", "auto", False, torch.float32),
        ("bfloat16", "lora", "auto", False, torch.bfloat16),
        ("float16", "lora", "auto", False, torch.bfloat16),
        ("float16", "lora", "auto", True, torch.float16),
        (None, "lora", "auto", False, torch.float32),
        ("bfloat16", "full", "auto", False, torch.float32),
        ("bfloat16", "lora", "float32", False, torch.float32),
        ("float32", "full", "bfloat16", False, torch.bfloat16),
        ("float32", "lora", "float16", True, torch.float16),
    ],
)
@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_the_type_of_the_weights(tmp_path: Path, monkeypatch, saved, tuning, wanted, use_cuda, dtype, key):
    monkeypatch.setattr(load, "has_fast_bfloat16", lambda: True)
    (tmp_path / "config.json").write_text(json.dumps({key: saved}))
    job = config(tuning=tuning, training={"dtype": wanted})
    assert load._dtype(BaseModel("x", tmp_path, "r"), job, use_cuda=use_cuda) is dtype


@pytest.mark.parametrize("saved", ["float16", "bfloat16"])
def test_a_cpu_that_computes_bfloat16_slowly_gets_float32(tmp_path: Path, monkeypatch, saved: str):
    monkeypatch.setattr(load, "has_fast_bfloat16", lambda: False)
    (tmp_path / "config.json").write_text(json.dumps({"dtype": saved}))
    base = BaseModel("x", tmp_path, "r")
    assert load._dtype(base, config(), use_cuda=False) is torch.float32
    assert load._dtype(base, config(training={"dtype": "bfloat16"}), use_cuda=False) is torch.bfloat16
    assert load._dtype(base, config(), use_cuda=True) is getattr(torch, saved)


def test_float16_needs_a_gpu(base: BaseModel):
    with pytest.raises(InvalidRequestError, match="needs a GPU") as caught:
        load_model(base, config(training={"dtype": "float16"}), use_cuda=False)
    assert caught.value.param == "training.dtype"


def test_pickled_weights_are_never_loaded(models: Path, tmp_path: Path):
    folder = tmp_path / "pickled"
    shutil.copytree(models / "org--tiny", folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InvalidRequestError, match=r"no file named model.safetensors") as caught:
        load_model(BaseModel("org/tiny", folder, "local-0"), config(), use_cuda=False)
    assert caught.value.code == "model_invalid"


def test_a_tokenizer_without_padding_pads_with_its_end(models: Path, tmp_path: Path):
    folder = Path(shutil.copytree(models / "org--tiny", tmp_path / "copy"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("pad_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_tokenizer(find_model(str(folder), models))
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"


def logits(model: torch.nn.Module) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([[1, 5, 9, 30]])).logits


def test_an_adapter_goes_on_being_trained(models: Path, base: BaseModel, adapter: Path):
    adapted = load_model(find_model(str(adapter), models), config(), use_cuda=False)
    assert isinstance(adapted, PeftModel)
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert not torch.allclose(logits(adapted), logits(load_model(base, config(), use_cuda=False)))


def test_an_adapter_is_merged_for_full_fine_tuning(models: Path, adapter: Path):
    found = find_model(str(adapter), models)
    merged = load_model(found, config(tuning="full"), use_cuda=False)
    assert not isinstance(merged, PeftModel)
    assert all(weight.requires_grad for weight in merged.parameters())
    expected = logits(load_model(found, config(), use_cuda=False))
    torch.testing.assert_close(logits(merged), expected, atol=1e-4, rtol=1e-4)


def test_a_saved_adapter_names_no_path_of_this_machine(base: BaseModel, adapter: Path):
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/tiny"
    for file in adapter.iterdir():
        assert str(base.folder).encode() not in file.read_bytes(), file.name


def card(folder: Path) -> tuple[dict[str, object], str]:
    """Metadata and text of a model card."""
    _, metadata, text = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(metadata), text


def test_the_card_of_an_adapter_says_how_to_get_its_base_model(base: BaseModel, adapter: Path):
    metadata, text = card(adapter)
    assert metadata["base_model"] == "org/tiny"
    assert 'AutoModelForCausalLM.from_pretrained("org/tiny")' in text
    name_base_model(adapter, replace(base, name="model:mdl-1", download="ftlab download job-1"))
    metadata, text = card(adapter)
    assert "base_model" not in metadata, "the hub refuses a card whose base model is not a repository"
    assert "`model:mdl-1`" in text
    assert "`ftlab download job-1`" in text
    name_base_model(adapter, replace(base, name="folder:mine"))
    _, text = card(adapter)
    assert "`folder:mine`" in text
    assert "ftlab download" not in text


def test_a_continued_adapter_is_saved_without_asking_the_hub(models: Path, adapter: Path, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda name, _: asked.append(name))
    load_model(find_model(str(adapter), models), config(), use_cuda=False).save_pretrained(adapter)
    assert asked == []


def quantised(base: BaseModel) -> PeftModel:
    torch.manual_seed(0)
    job = config(load_in_4bit=True, lora={"r": 4})
    model = get_peft_model(load_model(base, job, use_cuda=False), lora_config(job))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return model


def gradients(model: PeftModel) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad()
    ids = torch.tensor([[1, 5, 9, 30, 12, 44, 7, 3]])
    model(input_ids=ids, labels=ids).loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_an_evaluation_leaves_the_gradients_of_4_bit_training_as_they_are(base: BaseModel):
    model = quantised(base)
    assert any(isinstance(module, Linear4bit) for module in model.modules())
    before = gradients(model)
    logits(model)
    after = gradients(model)
    assert before.keys() == after.keys()
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], gradient, atol=0, rtol=0)


@pytest.mark.skipif(not has_avx512bf16(), reason="the packed layout exists on CPUs with AVX512-BF16 only")
def test_without_the_guard_they_would_change(base: BaseModel, monkeypatch: pytest.MonkeyPatch):
    """When this fails, bitsandbytes can train packed weights, and `_keep_trainable_layout` can go."""
    monkeypatch.setattr(load, "_keep_trainable_layout", lambda model: None)
    model = quantised(base)
    before = gradients(model)
    logits(model)
    try:
        after = gradients(model)
    except (RuntimeError, NotImplementedError, AssertionError):
        return
    worst = max((after[name] - before[name]).norm() / before[name].norm() for name in before)
    assert worst > 0.5

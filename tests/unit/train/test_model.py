"""Base models: finding them, telling their revision, loading them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from bitsandbytes.nn import Linear4bit
from huggingface_hub.errors import LocalEntryNotFoundError
from peft import PeftModel, get_peft_model

from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.schemas import JobConfig
from train import model as train_model
from train.model import BaseModel, find_model, fingerprint, load_model, load_tokenizer, lora_config, name_base_model


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


def test_a_model_on_this_machine_is_known_by_its_hub_id(models: Path):
    base = find_model("org/tiny", models)
    assert base == BaseModel("org/tiny", models / "org--tiny", fingerprint(models / "org--tiny"))
    assert base.revision.startswith("local-")


def test_a_folder_is_known_by_its_path(models: Path):
    folder = str(models / "org--tiny")
    assert find_model(folder, Path("/none")).name == folder


def test_an_adapter_stands_for_its_base_and_itself(models: Path, base: BaseModel, adapter: Path):
    assert find_model(str(adapter), models) == BaseModel("org/tiny", base.folder, base.revision, adapter)


def test_a_folder_that_is_gone(models: Path, tmp_path: Path):
    with pytest.raises(NotFoundError) as caught:
        find_model(str(tmp_path / "gone"), models)
    assert caught.value.code == "model_not_found"


def test_a_folder_that_holds_no_model(models: Path, tmp_path: Path):
    with pytest.raises(NotFoundError, match=r"config\.json") as caught:
        find_model(str(tmp_path), models)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("name", ["org/none", "org/tiny@v2"])
def test_what_is_not_here_is_asked_of_the_hub(models: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    """A revision is never taken from the models folder, which has none."""
    asked = []

    def offline(repo: str, **options) -> str:
        asked.append((repo, options["revision"], options["allow_patterns"]))
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(train_model, "snapshot_download", offline)
    with pytest.raises(LocalEntryNotFoundError):
        find_model(name, models)
    [(repo, revision, patterns)] = asked
    assert (repo, revision) == (name.partition("@")[0], "v2" if "@" in name else None)
    assert not any("bin" in pattern or "py" in pattern for pattern in patterns)


def test_a_revision_that_was_pinned_is_fetched_again(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        train_model, "snapshot_download", lambda repo, *, revision, allow_patterns: str(tmp_path / revision)
    )
    assert find_model("org/far@main", models, pinned="0a1b") == BaseModel("org/far", tmp_path / "0a1b", "0a1b")


def test_the_fingerprint_follows_what_a_folder_holds(models: Path, tmp_path: Path):
    copy = Path(shutil.copytree(models / "org--tiny", tmp_path / "copy"))
    before = fingerprint(copy)
    assert before == fingerprint(models / "org--tiny")
    (copy / "README.md").write_text("words")
    assert fingerprint(copy) == before
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    changed = fingerprint(copy)
    assert changed != before
    (copy / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert fingerprint(copy) not in (before, changed)


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
def test_the_type_of_the_weights(tmp_path: Path, saved, tuning, wanted, use_cuda, dtype, key):
    (tmp_path / "config.json").write_text(json.dumps({key: saved}))
    job = config(tuning=tuning, training={"dtype": wanted})
    assert train_model._dtype(BaseModel("x", tmp_path, "r"), job, use_cuda=use_cuda) is dtype


def test_float16_needs_a_gpu(base: BaseModel):
    with pytest.raises(InvalidRequestError, match="needs a GPU") as caught:
        load_model(base, config(training={"dtype": "float16"}), use_cuda=False)
    assert caught.value.param == "training.dtype"


def test_pickled_weights_are_never_loaded(models: Path, tmp_path: Path):
    folder = tmp_path / "pickled"
    shutil.copytree(models / "org--tiny", folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"safetensors"):
        load_model(find_model(str(folder), models), config(), use_cuda=False)


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
    monkeypatch.setattr(train_model, "_keep_trainable_layout", lambda model: None)
    model = quantised(base)
    before = gradients(model)
    logits(model)
    try:
        after = gradients(model)
    except (RuntimeError, NotImplementedError, AssertionError):
        return
    worst = max((after[name] - before[name]).norm() / before[name].norm() for name in before)
    assert worst > 0.5

"""Known ways in which the user's model, the rows or the machine end a run: none of them is an internal error."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file

from ftlab.schemas import JobConfig
from ftlab.status import ReasonCode
from tests.unit.train.runs import Job, Link, write_rows
from train.failures.classify import classify
from train.model.base_model import find_model
from train.model.load import load_model, lora_config
from train.model.model_card import name_base_model

R = ReasonCode
Change = Callable[[Path], object]
"""Damages a folder."""


def text(name: str, content: str | bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def removed(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def edited(name: str, without: tuple[str, ...] = (), **values: Any) -> Change:
    def change(folder: Path) -> None:
        document = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps({key: value for key, value in document.items() if key not in without}))

    return change


def config(**values: Any) -> Change:
    return edited("config.json", **values)


def cut(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-50])


def weights(name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name, {"format": "pt"})

    return rewrite


def renamed(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[f"other.{name}"] = tensors.pop(name)


def both(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes]


MODEL, ADAPTER = "model.safetensors", "adapter_model.safetensors"
OF_THE_MODEL: dict[str, tuple[Change, ReasonCode, str]] = {
    # The tokenizer.
    "tokenizer: broken JSON": (text("tokenizer.json", '{"a": '), R.CONFIG_INVALID, "tokenizer.json of the model"),
    "tokenizer: not UTF-8": (text("tokenizer.json", b"\xff\xfe\x00"), R.CONFIG_INVALID, "tokenizer.json of the model"),
    "tokenizer: empty": (text("tokenizer.json", ""), R.CONFIG_INVALID, "tokenizer.json of the model"),
    "tokenizer: a list": (text("tokenizer.json", "[]"), R.CONFIG_INVALID, "tokenizer.json of the model"),
    "tokenizer: no vocabulary": (text("tokenizer.json", "{}"), R.CONFIG_INVALID, "The tokenizer of org/tiny cannot"),
    "tokenizer: missing": (removed("tokenizer.json"), R.CONFIG_INVALID, "has no tokenizer"),
    "tokenizer: only a vocabulary": (
        both(removed("tokenizer.json"), text("vocab.json", "{}")), R.CONFIG_INVALID, "The tokenizer of org/tiny cannot"
    ),
    "tokenizer: damaged tiktoken file": (
        both(removed("tokenizer.json"), text("a.tiktoken", "x")), R.CONFIG_INVALID, "The tokenizer of org/tiny cannot"
    ),
    "tokenizer: broken config": (text("tokenizer_config.json", '{"a": '), R.CONFIG_INVALID, "tokenizer_config.json"),
    "tokenizer: broken special tokens": (
        text("special_tokens_map.json", '{"a": '), R.CONFIG_INVALID, "The tokenizer of org/tiny cannot be loaded"
    ),
    "tokenizer: code of its own": (
        edited("tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]}),
        R.CONFIG_INVALID, "never runs code that comes with a model",
    ),
    "tokenizer: neither end nor padding": (
        edited("tokenizer_config.json", without=("eos_token", "pad_token")), R.CONFIG_INVALID, "neither a pad_token"
    ),
    # The chat template.
    "template: syntax": (text("chat_template.jinja", "{% for m in %}"), R.CONFIG_INVALID, "template cannot be read"),
    "template: filter": (text("chat_template.jinja", "{{ messages | no }}"), R.CONFIG_INVALID, "named 'no'"),
    "template: refuses": (text("chat_template.jinja", "{{ raise_exception('no') }}"), R.DATASET_INVALID, "Row 1"),
    "template: undefined": (text("chat_template.jinja", "{{ a.b.c }}"), R.DATASET_INVALID, "Row 1 does not fit"),
    "template: division": (text("chat_template.jinja", "{{ 1 / 0 }}"), R.DATASET_INVALID, "division by zero"),
    "template: value": (text("chat_template.jinja", "{{ 'a'.index('b') }}"), R.DATASET_INVALID, "Row 1 does not fit"),
    # The config.
    "config: broken JSON": (text("config.json", "{"), R.CONFIG_INVALID, "config.json of the model"),
    "config: unknown type": (config(model_type="no"), R.CONFIG_INVALID, "model_type in config.json"),
    "config: no language model": (config(model_type="t5"), R.CONFIG_INVALID, "model_type in config.json"),
    "config: code of its own": (
        config(model_type="no", auto_map={"AutoConfig": "own.Own"}), R.CONFIG_INVALID, "never runs code"
    ),
    "config: wrong type": (config(hidden_size="many"), R.CONFIG_INVALID, "'hidden_size' expected int"),
    "config: heads that do not fit": (config(num_attention_heads=5), R.CONFIG_INVALID, "attention heads (5)"),
    "config: no heads": (config(num_attention_heads=0), R.CONFIG_INVALID, "cannot be loaded (ZeroDivisionError"),
    "config: unknown activation": (config(hidden_act="no"), R.CONFIG_INVALID, "cannot be loaded (KeyError: 'no')"),
    "config: unknown RoPE": (config(rope_parameters={"rope_type": "yarn"}), R.CONFIG_INVALID, "Missing required keys"),
    "config: unknown dtype": (config(dtype="float99"), R.CONFIG_INVALID, "float99"),
    "config: padding beyond the tokens": (config(pad_token_id=9999), R.CONFIG_INVALID, "Padding_idx"),
    "config: library missing": (
        config(quantization_config={"quant_method": "gptq", "bits": 4}), R.CONFIG_INVALID, "needs a library that the"
    ),
    "config: quantised, weights not": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        R.CONFIG_INVALID, "is not quantised",
    ),
    # The weights: what is missing would be random numbers.
    "weights: fewer layers": (config(num_hidden_layers=3), R.CONFIG_INVALID, "lack 9 weights (model.layers.2"),
    "weights: no head": (config(tie_word_embeddings=False), R.CONFIG_INVALID, "lack 1 weight (lm_head.weight)"),
    "weights: another architecture": (config(model_type="bert"), R.CONFIG_INVALID, "weights (bert."),
    "weights: one missing": (
        weights(MODEL, lambda all_: all_.pop("model.norm.weight")), R.CONFIG_INVALID, "(model.norm.weight)"
    ),
    "weights: other names": (weights(MODEL, renamed), R.CONFIG_INVALID, "lack 21 weights"),
    "weights: other shapes": (config(hidden_size=32), R.CONFIG_INVALID, "has the shape 512x64, and 512x32"),
    "weights: other vocabulary": (config(vocab_size=600), R.CONFIG_INVALID, "has the shape 512x64, and 600x64"),
    "weights: NaN": (
        weights(MODEL, lambda all_: all_["model.norm.weight"].fill_(torch.nan)), R.LOSS_DIVERGED, "became nan"
    ),
    "weights: truncated": (cut(MODEL), R.CONFIG_INVALID, "not a whole safetensors file"),
    "weights: garbage": (text(MODEL, b"0" * 999), R.CONFIG_INVALID, "not a whole safetensors file"),
    "weights: missing": (removed(MODEL), R.MODEL_NOT_FOUND, "no safetensors weights"),
    "weights: a folder": (
        both(removed(MODEL), lambda folder: (folder / MODEL).mkdir()), R.MODEL_NOT_FOUND, "no safetensors weights"
    ),
    "weights: pickles": (
        both(removed(MODEL), text("pytorch_model.bin", b"x")), R.CONFIG_INVALID, "convert them to safetensors"
    ),
    "weights: GGUF": (both(removed("config.json"), text("a.gguf", b"GGUF")), R.MODEL_NOT_FOUND, "holds no model"),
    "embedding: fewer rows than tokens": (
        both(
            weights(MODEL, lambda all_: all_.update({k: v[:300].clone() for k, v in all_.items() if "embed" in k})),
            config(vocab_size=300),
        ),
        R.CONFIG_INVALID, "the embedding has 300 rows",
    ),
}  # fmt: skip

ADAPTER_CONFIG = "adapter_config.json"
OF_THE_ADAPTER: dict[str, tuple[Change, ReasonCode, str]] = {
    "config: broken JSON": (text(ADAPTER_CONFIG, "{"), R.CONFIG_INVALID, "does not name a base model"),
    "config: a list": (text(ADAPTER_CONFIG, "[]"), R.CONFIG_INVALID, "does not name a base model"),
    "config: no base": (
        edited(ADAPTER_CONFIG, without=("base_model_name_or_path",)), R.CONFIG_INVALID, "does not name a base model"
    ),
    "config: null base": (
        edited(ADAPTER_CONFIG, base_model_name_or_path=None), R.CONFIG_INVALID, "does not name a base model"
    ),
    "config: its own base": (
        lambda folder: edited(ADAPTER_CONFIG, base_model_name_or_path=str(folder))(folder),
        R.CONFIG_INVALID, "does not name a base model",
    ),
    "config: unknown base": (
        edited(ADAPTER_CONFIG, base_model_name_or_path="/no/such"), R.MODEL_NOT_FOUND, "/no/such no longer exist"
    ),
    "config: unknown type": (edited(ADAPTER_CONFIG, peft_type="NO"), R.CONFIG_INVALID, "adapter cannot be loaded"),
    "config: other rank": (edited(ADAPTER_CONFIG, r=8), R.CONFIG_INVALID, "size mismatch"),
    "config: other layers": (edited(ADAPTER_CONFIG, target_modules=["no"]), R.CONFIG_INVALID, "{'no'} not found in"),
    "weights: one missing": (
        weights(ADAPTER, lambda all_: all_.pop(min(all_))), R.CONFIG_INVALID, "of the adapter lacks 1 weight"
    ),
    "weights: other names": (weights(ADAPTER, renamed), R.CONFIG_INVALID, "of the adapter lacks"),
    "weights: truncated": (cut(ADAPTER), R.CONFIG_INVALID, "The adapter cannot be loaded (SafetensorError"),
    "weights: missing": (removed(ADAPTER), R.CONFIG_INVALID, f"has no {ADAPTER}"),
    "weights: pickles": (
        both(removed(ADAPTER), lambda folder: torch.save({}, folder / "adapter_model.bin")),
        R.CONFIG_INVALID, f"has no {ADAPTER}",
    ),
}  # fmt: skip

OF_THE_FILES: dict[str, tuple[Change, ReasonCode, str]] = {
    "rows: missing": (removed("rows.arrow"), R.DATASET_INVALID, "Dataset ds-1: The dataset's converted rows are no"),
    "rows: garbage": (text("rows.arrow", "x"), R.DATASET_INVALID, "damaged or of another version"),
    "rows: truncated": (cut("rows.arrow"), R.DATASET_INVALID, "damaged or of another version"),
    "model: folder missing": (
        lambda home: shutil.rmtree(home / "models" / "org--tiny"), R.MODEL_NOT_FOUND, "is not on this machine"
    ),
    "job: a file in place of its folder": (text("job", ""), R.STORAGE_ERROR, "Not a directory"),
    "cache: a file in its place": (text("cache", ""), R.STORAGE_ERROR, "Make sure that nothing else moves"),
    "checkpoints: a file in their place": (
        lambda home: ((home / "job").mkdir(), text("job/checkpoints", "")(home)), R.STORAGE_ERROR, "File exists"
    ),
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, rows and a job; the hub is never asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.copytree(models / "org--tiny", tmp_path / "models" / "org--tiny")
    write_rows(tmp_path / "rows.arrow", 4)
    return tmp_path


@pytest.fixture(scope="module")
def adapter(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = find_model("org/tiny", models)
    config = JobConfig.model_validate({"model": "org/tiny", "dataset": "ds-1", "lora": {"r": 4}})
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(load_model(base, config, use_cuda=False), lora_config(config)).save_pretrained(folder)
    name_base_model(folder, base)
    return folder


def assert_fails(home: Path, reason: ReasonCode, words: str, model: str = "org/tiny", link: Link | None = None) -> None:
    job = Job(home / "job", home / "models", home / "rows.arrow", model=model)
    with pytest.raises(Exception) as caught:
        job.train(link, training={"max_steps": 1})
    failure = classify(caught.value, job.folder)
    assert (failure.reason, words in failure.message) == (reason, True), failure.message
    assert failure.reason is not R.INTERNAL_ERROR
    # A template's own words end the sentence about a row that it refuses.
    assert failure.message.endswith(".") or "does not fit the model's chat template: " in failure.message


def entries(known: dict[str, tuple[Change, ReasonCode, str]]) -> list[Any]:
    return [pytest.param(*entry, id=name) for name, entry in known.items()]


@pytest.mark.parametrize(("change", "reason", "words"), entries(OF_THE_MODEL))
def test_a_base_model_that_cannot_be_trained(home: Path, change: Change, reason: ReasonCode, words: str):
    change(home / "models" / "org--tiny")
    assert_fails(home, reason, words)


@pytest.mark.parametrize(("change", "reason", "words"), entries(OF_THE_ADAPTER))
def test_an_adapter_that_cannot_be_continued(home: Path, adapter: Path, change: Change, reason: ReasonCode, words: str):
    folder = shutil.copytree(adapter, home / "adapter")
    change(folder)
    assert_fails(home, reason, words, str(folder))


@pytest.mark.parametrize(("change", "reason", "words"), entries(OF_THE_FILES))
def test_files_that_are_not_as_they_were(home: Path, change: Change, reason: ReasonCode, words: str):
    change(home)
    assert_fails(home, reason, words)


def test_a_model_that_is_removed_while_it_is_loaded(home: Path, monkeypatch: pytest.MonkeyPatch):
    def load_then_remove(*args: Any, **options: Any) -> Any:
        rows = load_datasets(*args, **options)
        shutil.rmtree(home / "models")
        return rows

    from train import run

    load_datasets = run.load_datasets
    monkeypatch.setattr(run, "load_datasets", load_then_remove)
    assert_fails(home, R.MODEL_NOT_FOUND, "was removed")

"""GGUF files of the tiny model, read by transformers' reader and, where it is installed, by llama.cpp."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from ftlab.errors import FineTuneLabError, InvalidRequestError
from tests.support.tiny_adapters import make_tiny_adapter
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.export.test_run import base, changed, flip_a_bit, plan, receipt_of  # noqa: F401  fixtures
from tests.unit.train.runs import Link
from train.export.gguf_file import FILE, GgufFormat
from train.export.merged_weights import MergedWeights
from train.export.run import run
from train.model.base_model import BaseModel
from train.plan import ExportPlan, LocalBase


@pytest.mark.parametrize("gguf_type", ["f32", "q8_0"])
def test_the_file_answers_like_the_adapter(plan: ExportPlan, gguf_type: str):  # noqa: F811
    plan = changed(plan, formats=["gguf"], gguf_type=gguf_type)
    run(plan, Link())
    name = f"gguf-{gguf_type}"
    receipt = receipt_of(plan, name)
    assert (receipt.is_good, receipt.same_tokens, receipt.weight_type) == (True, True, gguf_type)
    assert receipt.max_difference <= receipt.bound
    reader = gguf.GGUFReader(plan.artifacts_folder / name / FILE)
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["blk.0.attn_q.weight"] == gguf_type.upper()
    assert types["blk.0.attn_norm.weight"] == "F32"


def test_heads_of_other_sizes_and_the_other_architecture_are_written(plan: ExportPlan, tmp_path: Path):  # noqa: F811
    base = make_tiny_model(tmp_path / "models" / "org--qwen", architecture="qwen3", tied=False)  # noqa: F811
    adapter = make_tiny_adapter(base, tmp_path / "qwen-adapter", seed=5)
    plan = changed(plan, formats=["gguf"], gguf_type="f32")
    run(replace(plan, model=str(adapter), local_base=LocalBase("org/qwen", base)), Link())
    assert receipt_of(plan, "gguf-f32").is_good


def test_a_file_with_a_spoilt_weight_is_refused(plan: ExportPlan, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    write = GgufFormat.write

    def spoil(self: GgufFormat, folder: Path, after_tensor: Any) -> Any:
        write(self, folder, after_tensor)
        reader = gguf.GGUFReader(folder / FILE)
        weight = next(tensor for tensor in reader.tensors if tensor.name == "blk.1.ffn_down.weight")
        flip_a_bit(folder / FILE, int(weight.data_offset) + 3)
        return {}

    monkeypatch.setattr(GgufFormat, "write", spoil)
    plan = changed(plan, formats=["gguf"], gguf_type="f32")
    with pytest.raises(FineTuneLabError, match="a logit differs by"):
        run(plan, Link())
    assert list(plan.artifacts_folder.iterdir()) == []


def test_what_llama_cpp_would_not_compute_alike_is_refused(tmp_path: Path):
    folder = make_tiny_model(tmp_path / "tiny")
    config, tokenizer = folder / "config.json", folder / "tokenizer.json"
    originals = config.read_text(), tokenizer.read_text()
    for file, old, new, message in (
        (config, '"rope_type": "default"', '"rope_type": "dynamic", "factor": 2.0', "positions 'dynamic'"),
        (config, '"hidden_act": "silu"', '"hidden_act": "gelu"', "the model has 'gelu'"),
        (tokenizer, '"byte_fallback": false', '"byte_fallback": true', "only byte-level BPE"),
        (tokenizer, '"ignore_merges": false', '"ignore_merges": true', "ignore_merges"),
        (tokenizer, '"use_regex": true', '"use_regex": false', "cuts a text into words"),
    ):
        assert old in file.read_text(), old
        file.write_text(file.read_text().replace(old, new))
        base = BaseModel("org/tiny", folder, "local-1")  # noqa: F811
        with pytest.raises(InvalidRequestError, match=message):
            GgufFormat(MergedWeights(base), base, "f32").write(tmp_path, lambda: None)
        config.write_text(originals[0])
        tokenizer.write_text(originals[1])


def test_llama_3_positions_are_divided_as_transformers_divides_them(tmp_path: Path):
    folder = make_tiny_model(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config["rope_parameters"] |= scaling | {"original_max_position_embeddings": 32}
    (folder / "config.json").write_text(json.dumps(config))
    base = BaseModel("org/tiny", folder, "local-1")  # noqa: F811
    GgufFormat(MergedWeights(base), base, "f32").write(tmp_path, lambda: None)
    [factors] = [each.data for each in gguf.GGUFReader(tmp_path / FILE).tensors if each.name == "rope_freqs.weight"]
    # The formula of llama.cpp's converter, for heads of 16 numbers and a theta of 10,000.
    expected = []
    for pair in range(8):
        wavelength = 2 * math.pi * 10_000 ** (pair / 8)
        smooth = min(1.0, max(0.0, (32 / wavelength - 1) / (4 - 1)))
        expected.append(1 / ((1 - smooth) / 8 + smooth))
    assert np.allclose(factors, expected, rtol=1e-5)


def test_no_more_than_one_tensor_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = make_tiny_model(tmp_path / "tiny")
    base = BaseModel("org/tiny", folder, "local-1")  # noqa: F811
    largest = max(math.prod(shape) for shape in ((512, 64), (128, 64))) * 4
    held = 0
    quantize = gguf.quantize

    def watched(values: Any, kind: Any) -> Any:
        nonlocal held
        held = max(held, values.nbytes)
        return quantize(values, kind)

    monkeypatch.setattr(gguf, "quantize", watched)
    GgufFormat(MergedWeights(base), base, "f32").write(tmp_path, lambda: None)
    assert held == largest
    assert torch.is_inference_mode_enabled() is False

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
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftlab.errors import FineTuneLabError, InvalidRequestError
from tests.support.tiny_adapters import make_tiny_adapter
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.export.test_run import changed, flip_a_bit, receipt_of
from tests.unit.train.runs import Link
from train.export.gguf_file import FILE, GgufFormat
from train.export.merged_weights import MergedWeights
from train.export.run import run
from train.model.base_model import BaseModel
from train.plan import ExportPlan, LocalBase


@pytest.mark.parametrize("gguf_type", ["f32", "q8_0"])
def test_the_file_answers_like_the_adapter(plan: ExportPlan, gguf_type: str):
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


def test_heads_of_other_sizes_and_the_other_architecture_are_written(plan: ExportPlan, tmp_path: Path):
    qwen = make_tiny_model(tmp_path / "models" / "org--qwen", architecture="qwen3", tied=False)
    adapter = make_tiny_adapter(qwen, tmp_path / "qwen-adapter", seed=5)
    plan = changed(plan, formats=["gguf"], gguf_type="f32")
    run(replace(plan, model=str(adapter), local_base=LocalBase("org/qwen", qwen)), Link())
    assert receipt_of(plan, "gguf-f32").is_good


def test_a_file_with_a_spoilt_weight_is_refused(plan: ExportPlan, monkeypatch: pytest.MonkeyPatch):
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
        (tokenizer, '"byte_fallback": false', '"byte_fallback": true', "spaces of a text"),
        (tokenizer, '"ignore_merges": false', '"ignore_merges": true', "ignore_merges"),
        (tokenizer, '"use_regex": true', '"use_regex": false', "cuts a text into words"),
    ):
        assert old in file.read_text(), old
        file.write_text(file.read_text().replace(old, new))
        base = BaseModel("org/tiny", folder, "local-1")
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
    base = BaseModel("org/tiny", folder, "local-1")
    GgufFormat(MergedWeights(base), base, "f32").write(tmp_path, lambda: None)
    [factors] = [each.data for each in gguf.GGUFReader(tmp_path / FILE).tensors if each.name == "rope_freqs.weight"]
    # The formula of llama.cpp's converter, for heads of 16 numbers and a theta of 10,000.
    expected = []
    for pair in range(8):
        wavelength = 2 * math.pi * 10_000 ** (pair / 8)
        smooth = min(1.0, max(0.0, (32 / wavelength - 1) / (4 - 1)))
        expected.append(1 / ((1 - smooth) / 8 + smooth))
    assert np.allclose(factors, expected, rtol=1e-5)


def test_llama_cpp_answers_like_the_adapter(plan: ExportPlan, base: Path):
    llama_cpp = pytest.importorskip("xllamacpp")
    plan = changed(plan, formats=["gguf"], gguf_type="f32")
    run(plan, Link())
    params = llama_cpp.CommonParams()
    params.model.path = str(plan.artifacts_folder / "gguf-f32" / FILE)
    params.n_ctx, params.cpuparams.n_threads, params.warmup = 256, 1, False
    server = llama_cpp.Server(params)
    prompt = "<|im_start|>user\nHow do I submit 12 jobs, e.g. today?<|im_end|>\n<|im_start|>assistant\n"
    reply = server.handle_completions({"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 5})
    tokens = AutoTokenizer.from_pretrained(base)(prompt, return_tensors="pt")
    assert reply["usage"]["prompt_tokens"] == tokens["input_ids"].shape[1]
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), plan.model)
    with torch.inference_mode():
        expected = tuned(**tokens).logits[0, -1].log_softmax(dim=0)
    [first] = reply["choices"][0]["logprobs"]["content"]
    assert first["id"] == int(expected.argmax())
    for found in first["top_logprobs"]:
        assert found["logprob"] == pytest.approx(float(expected[found["id"]]), abs=2e-3)


def test_no_more_than_one_tensor_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = make_tiny_model(tmp_path / "tiny")
    base = BaseModel("org/tiny", folder, "local-1")
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

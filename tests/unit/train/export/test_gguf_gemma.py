"""Gemma 2 and 3 and their tokenizer in GGUF files: read by llama.cpp and by transformers."""

import json
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import torch
import xllamacpp
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftlab.errors import InvalidRequestError
from tests.support.tiny_adapters import make_tiny_adapter
from tests.support.tiny_gemma import make_gemma
from tests.unit.train.export.test_run import changed, receipt_of
from tests.unit.train.runs import Link
from train.export.gguf_file import FILE, GgufFormat
from train.export.merged_weights import MergedWeights
from train.export.run import run
from train.model.base_model import BaseModel
from train.plan import ExportPlan, LocalBase

HARD_TEXTS = (
    "",
    "Hello  world",
    " x",
    "    x   ",
    "emoji 🙂 é",
    "a\n\n\nb\n\nc\r\n",
    "tab\tx",
    "ünï 漢字",
    "▁▁x y",
    "<start_of_turn>user\nHi there<end_of_turn>\n",
    "a  <end_of_turn>  b<eos>",
    "<unk><0x41>[PAD590]",
)
LONG_TEXT = "How do I submit a job? Upload a dataset, name a base model, and send the config to the queue."


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3"])
def test_llama_cpp_answers_like_the_adapter(plan: ExportPlan, tmp_path: Path, architecture: str):
    base = make_gemma(tmp_path / "models" / "org--gemma", architecture)
    targets = ["q_proj", "k_proj", "o_proj", "down_proj"]
    adapter = make_tiny_adapter(base, tmp_path / "gemma-adapter", seed=3, target_modules=targets)
    plan = changed(plan, formats=["gguf"], gguf_type="f32", prompts=[LONG_TEXT])
    plan = replace(plan, model=str(adapter), local_base=LocalBase("org/gemma", base))
    run(plan, Link())
    receipt = receipt_of(plan, "gguf-f32")
    assert (receipt.is_good, receipt.same_tokens, receipt.top1_agreement) == (True, True, 1.0)

    params = xllamacpp.CommonParams()
    params.model.path = str(plan.artifacts_folder / "gguf-f32" / FILE)
    params.n_ctx, params.cpuparams.n_threads, params.warmup = 256, 1, False
    server = xllamacpp.Server(params)
    tokenizer = AutoTokenizer.from_pretrained(base)
    for text in (*HARD_TEXTS, LONG_TEXT):
        body = {"content": text, "add_special": True, "parse_special": True}
        found = httpx2.post(f"{server.listening_address}/tokenize", json=body, trust_env=False).json()["tokens"]
        assert found == tokenizer(text)["input_ids"], text
    tokens = tokenizer(LONG_TEXT, return_tensors="pt")
    assert tokens["input_ids"].shape[1] > 2 * json.loads((base / "config.json").read_text())["sliding_window"]
    reply = server.handle_completions({"prompt": LONG_TEXT, "max_tokens": 1, "temperature": 0, "logprobs": 5})
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), plan.model)
    with torch.inference_mode():
        expected = tuned.eval()(**tokens).logits[0, -1].log_softmax(dim=0)
    [first] = reply["choices"][0]["logprobs"]["content"]
    assert first["id"] == int(expected.argmax())
    for each in first["top_logprobs"]:
        assert each["logprob"] == pytest.approx(float(expected[each["id"]]), abs=1e-2)


def test_what_llama_cpp_would_not_compute_alike_is_refused(tmp_path: Path):
    folder = make_gemma(tmp_path / "gemma", "gemma2")
    config, tokenizer = folder / "config.json", folder / "tokenizer.json"
    originals = config.read_text(), tokenizer.read_text()
    merges = json.loads(originals[1])["model"]["merges"]

    def refusal(config_changes: dict[str, object], tokenizer_changes: dict[str, object] | None = None) -> str:
        config.write_text(json.dumps(json.loads(originals[0]) | config_changes))
        document = json.loads(originals[1])
        document["model"] |= tokenizer_changes or {}
        tokenizer.write_text(json.dumps(document))
        base = BaseModel("org/gemma", folder, "local-1")
        with pytest.raises(InvalidRequestError) as caught:
            GgufFormat(MergedWeights(base), base, "f32").write(tmp_path, lambda: None)
        return caught.value.message

    assert "scales its queries by 16, not by 24" in refusal({"query_pre_attn_scalar": 24})
    assert "another activation" in refusal({"hidden_activation": "silu"})
    assert "look at a window" in refusal({"layer_types": ["full_attention", "sliding_attention"]})
    assert "cannot express the order of its merges" in refusal({}, {"merges": merges[:-1]})
    vocab = {token: number for token, number in json.loads(originals[1])["model"]["vocab"].items() if token != "<0x41>"}
    assert "a token for every byte" in refusal({}, {"vocab": vocab})

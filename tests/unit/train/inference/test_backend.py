"""Whether vLLM answers: every obstacle is a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas import EngineConfig
from ftlab.vllm_environment import VllmEnvironment
from train.inference.backend import adapter_obstacle, choose_backend

VLLM = VllmEnvironment(Path("/nowhere"), "0.33.0", 1, "", ("LlamaForCausalLM",))


@pytest.mark.parametrize(
    ("vllm", "architecture", "use_cuda", "changes", "why"),
    [
        (None, "LlamaForCausalLM", True, {}, "it is not installed ('ftlab inference install')"),
        (VLLM, "LlamaForCausalLM", False, {}, "the job has no CUDA GPU"),
        (VLLM, "NewForCausalLM", True, {}, "it does not know the architecture NewForCausalLM"),
        (VLLM, "LlamaForCausalLM", True, {"load_in_4bit": True}, "the weights are loaded in 4 or 8 bits"),
    ],
)
def test_what_keeps_vllm_from_answering(
    vllm: VllmEnvironment | None, architecture: str, use_cuda: bool, changes: dict[str, Any], why: str
) -> None:
    chosen = choose_backend(EngineConfig(model="m", **changes), vllm, architecture, use_cuda=use_cuda)
    assert chosen.kind == "own"
    assert why in chosen.reason
    with pytest.raises(InvalidRequestError) as refused:
        choose_backend(EngineConfig(model="m", backend="vllm", **changes), vllm, architecture, use_cuda=use_cuda)
    assert why in refused.value.message


def test_vllm_answers_where_it_can() -> None:
    for backend, kind in (("auto", "vllm"), ("vllm", "vllm"), ("own", "own")):
        config = EngineConfig(model="m", backend=backend)
        assert choose_backend(config, VLLM, "LlamaForCausalLM", use_cuda=True).kind == kind


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"r": 64, "use_rslora": True, "init_lora_weights": True}, None),
        ({"r": 65}, "a rank of 65, above 64"),
        ({"r": 8, "rank_pattern": {"q_proj": 128}}, "a rank of 128, above 64"),
        ({"r": 8, "use_dora": True}, "DoRA"),
        ({"r": 8, "modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"r": 8, "init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
    ],
)
def test_adapters_that_vllm_cannot_compute(tmp_path: Path, config: dict[str, Any], why: str | None) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    assert adapter_obstacle(tmp_path) == why

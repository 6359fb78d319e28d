"""Adapters of the tiny model whose answers differ from those of the base model, and from one another."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM


def make_tiny_adapter(base: Path, folder: Path, *, seed: int, **settings: Any) -> Path:
    """Write an adapter with random weights to `folder`. `settings` are those of PEFT's `LoraConfig`."""
    chosen = {"r": 4, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**chosen))
        with torch.no_grad():
            for name, weights in model.named_parameters():
                if weights.requires_grad and "magnitude" not in name:
                    weights.add_(torch.randn_like(weights) * 0.2)
    model.save_pretrained(folder)
    return folder

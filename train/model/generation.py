"""Generation of answers outside of a method's own sampling: how it ends, and the mode of the model meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


def end_token_ids(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer: those of the model, and the tokenizer's end of text."""
    return end_ids_of(model.generation_config, tokenizer)


def end_ids_of(settings: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer of a model with these settings, for a model that another process loads."""
    of_model = settings.eos_token_id
    known = of_model if isinstance(of_model, list) else [of_model]
    return sorted({token for token in [*known, tokenizer.eos_token_id] if token is not None})


def stored_settings(folder: Path) -> GenerationConfig:
    """The settings of the model in a folder, as transformers gives them to the model that it loads."""
    try:
        return GenerationConfig.from_pretrained(folder)
    except OSError:  # it has no file of them
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder, trust_remote_code=False))


def generation_config(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int, **sampling: Any
) -> GenerationConfig:
    """Settings of a generation: greedy, unless `sampling` says otherwise; never those that come with the model."""
    return GenerationConfig(
        **{"do_sample": False} | sampling,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        use_cache=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=end_token_ids(model, tokenizer),
        disable_compile=True,
    )


@contextmanager
def generating(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Put the model into evaluation mode without gradients, and each of its modules back into its own mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode

"""Generation of answers outside of a method's own sampling: how it ends, and the mode of the model meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


def end_token_ids(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer: those of the model, and the tokenizer's end of text."""
    of_model = model.generation_config.eos_token_id
    known = of_model if isinstance(of_model, list) else [of_model]
    return sorted({token for token in [*known, tokenizer.eos_token_id] if token is not None})


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

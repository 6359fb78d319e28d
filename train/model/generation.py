"""What ends an answer of a model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def end_token_ids(model: "PreTrainedModel | PeftModel", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The tokens after which an answer is complete: those that the model names, and the tokenizer's eos."""
    of_model = model.generation_config.eos_token_id
    known = of_model if isinstance(of_model, list) else [of_model]
    return sorted({token for token in [*known, tokenizer.eos_token_id] if token is not None})

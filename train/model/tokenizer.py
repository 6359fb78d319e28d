"""The tokenizer of a base model."""

from typing import TYPE_CHECKING

from train.model.base_model import BaseModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(base: BaseModel) -> "PreTrainedTokenizerBase":
    """Padding is the end of text where the tokenizer has no token for it."""
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base.folder, local_files_only=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer

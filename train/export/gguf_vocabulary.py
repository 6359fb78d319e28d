"""A vocabulary in the terms of llama.cpp, and how it is written to a GGUF file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import gguf

from ftlab.errors import InvalidRequestError
from train.model.generation import end_of_turn_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class GgufVocabulary:
    """A vocabulary as llama.cpp reads it."""

    model: Literal["gpt2", "llama"]
    """`gpt2` is byte-level BPE, which has merges; `llama` is that of SentencePiece, which has scores."""
    pre: str
    tokens: list[str]
    types: list[int]
    merges: Sequence[str] = ()
    scores: Sequence[float] = ()


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: "PreTrainedTokenizerBase", vocabulary: GgufVocabulary) -> None:
    """Write the vocabulary, the special tokens and the chat template."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.model == "llama":
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(False)
    else:
        writer.add_token_merges(vocabulary.merges)
    for number, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
        (end_of_turn_id(tokenizer), writer.add_eot_token_id),
    ):
        if number is not None:
            add(number)
    plain = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and plain[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(tokenizer.eos_token_id is not None and plain[-1] == tokenizer.eos_token_id)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def not_written(why: str) -> InvalidRequestError:
    """The error for a tokenizer that llama.cpp would not compute alike."""
    return InvalidRequestError(
        f"The tokenizer of the model cannot be written to GGUF: {why}. Export the format 'merged' instead.",
        "tokenizer_unsupported",
        "formats",
    )

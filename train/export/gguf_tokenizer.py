"""The tokenizer of a model as the metadata of a GGUF file.

llama.cpp knows how a text is cut into words by a name, the "pre-tokenizer". It is found here by the definition in
tokenizer.json, for byte-level BPE alone: other kinds of tokenizers would need more than their files say.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf

from ftlab.errors import InvalidRequestError
from train.model.generation import end_of_turn_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILE = "tokenizer.json"
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NAMES_OF_SPLITS = {_QWEN2: "qwen2", _LLAMA3: "llama-bpe", _TEKKEN: "tekken"}


@dataclass(frozen=True)
class GgufVocabulary:
    """A byte-level BPE vocabulary as llama.cpp reads it."""

    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]


def read_vocabulary(tokenizer: "PreTrainedTokenizerBase", folder: Path, num_rows: int) -> GgufVocabulary:
    """The vocabulary of the tokenizer in `folder`, one token for each of the `num_rows` rows of the embedding.

    Raise `InvalidRequestError` (`tokenizer_unsupported`) for a tokenizer that llama.cpp would not compute alike.
    """
    try:
        document = json.loads((folder / TOKENIZER_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        raise _unsupported(f"it has no readable {TOKENIZER_FILE}") from None
    model = document.get("model") or {}
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise _unsupported("only byte-level BPE tokenizers are written to GGUF")
    pre = _pre_tokenizer(document)
    # llama.cpp takes a whole word that is a token without merging for this name, and for no other.
    if bool(model.get("ignore_merges")) != (pre == "llama-bpe"):
        raise _unsupported(f"ignore_merges in its {TOKENIZER_FILE} is not what llama.cpp does for '{pre}'")
    tokens = [f"[PAD{number}]" for number in range(num_rows)]
    types = [int(gguf.TokenType.UNUSED)] * num_rows
    for token, number in tokenizer.get_vocab().items():
        if number < num_rows:
            tokens[number], types[number] = token, int(gguf.TokenType.NORMAL)
    for number, added in tokenizer.added_tokens_decoder.items():
        if number < num_rows:
            tokens[number] = added.content
            types[number] = int(gguf.TokenType.CONTROL if added.special else gguf.TokenType.USER_DEFINED)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return GgufVocabulary(pre, tokens, types, merges)


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: "PreTrainedTokenizerBase", vocabulary: GgufVocabulary) -> None:
    """Write the vocabulary, the special tokens and the chat template."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
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


def _pre_tokenizer(document: dict[str, Any]) -> str:
    """llama.cpp's name of how the tokenizer cuts a text into words."""
    parts = _parts(document.get("pre_tokenizer"))
    match [part.get("type") for part in parts]:
        case ["ByteLevel"] if _is_plain(parts[0], use_regex=True):
            return "gpt-2"
        case ["Digits", "ByteLevel"] if parts[0].get("individual_digits") and _is_plain(parts[1], use_regex=True):
            return "smollm"
        case ["Split", "ByteLevel"] if parts[0].get("behavior") == "Isolated" and not parts[0].get("invert"):
            pattern = parts[0].get("pattern", {}).get("Regex")
            if pattern in _NAMES_OF_SPLITS and _is_plain(parts[1], use_regex=False):
                return _NAMES_OF_SPLITS[pattern]
    raise _unsupported("it cuts a text into words in a way that is not known here")


def _parts(definition: dict[str, Any] | None) -> list[dict[str, Any]]:
    if definition is None:
        return []
    return list(definition["pretokenizers"]) if definition.get("type") == "Sequence" else [definition]


def _is_plain(part: dict[str, Any], *, use_regex: bool) -> bool:
    return not part.get("add_prefix_space", True) and part.get("use_regex", True) is use_regex


def _unsupported(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The tokenizer of the model cannot be written to GGUF: {why}. Export the format 'merged' instead.",
        "tokenizer_unsupported",
        "formats",
    )

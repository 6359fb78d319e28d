"""The tokenizer of a model as the metadata of a GGUF file.

llama.cpp knows how a text is cut into words by a name, the "pre-tokenizer". It is found here by the definition in
tokenizer.json. Vocabularies of SentencePiece, which are not cut into words, are those of `spm_vocabulary`.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf

from train.export.gguf_vocabulary import GgufVocabulary, not_written
from train.export.spm_vocabulary import is_sentencepiece, read_sentencepiece

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


def read_vocabulary(tokenizer: "PreTrainedTokenizerBase", folder: Path, num_rows: int) -> GgufVocabulary:
    """The vocabulary of the tokenizer in `folder`, one token for each of the `num_rows` rows of the embedding.

    Raise `InvalidRequestError` (`tokenizer_unsupported`) for a tokenizer that llama.cpp would not compute alike.
    """
    try:
        document = json.loads((folder / TOKENIZER_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        raise not_written(f"it has no readable {TOKENIZER_FILE}") from None
    if is_sentencepiece(document):
        loaded = json.loads(tokenizer.backend_tokenizer.to_str())
        return read_sentencepiece(loaded, tokenizer, num_rows)
    model = document.get("model") or {}
    if model.get("type") != "BPE":
        raise not_written("only BPE tokenizers are written to GGUF")
    pre = _pre_tokenizer(document)
    # llama.cpp takes a whole word that is a token without merging for this name, and for no other.
    if bool(model.get("ignore_merges")) != (pre == "llama-bpe"):
        raise not_written(f"ignore_merges in its {TOKENIZER_FILE} is not what llama.cpp does for '{pre}'")
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
    return GgufVocabulary("gpt2", pre, tokens, types, merges=merges)


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
    raise not_written("it cuts a text into words in a way that is not known here")


def _parts(definition: dict[str, Any] | None) -> list[dict[str, Any]]:
    if definition is None:
        return []
    return list(definition["pretokenizers"]) if definition.get("type") == "Sequence" else [definition]


def _is_plain(part: dict[str, Any], *, use_regex: bool) -> bool:
    return not part.get("add_prefix_space", True) and part.get("use_regex", True) is use_regex

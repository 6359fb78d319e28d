"""A BPE vocabulary with byte fallback, as SentencePiece makes them, in the terms of llama.cpp.

Merges have an order in tokenizer.json. llama.cpp merges the pair whose result has the highest score, so the scores are
those of this order, and a tokenizer is refused where they would imply other merges than it has.
"""

from typing import TYPE_CHECKING, Any

import gguf
from transformers.tokenization_utils_base import generate_merges

from train.export.gguf_vocabulary import GgufVocabulary, not_written

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPACE = "▁"
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def is_sentencepiece(document: dict[str, Any]) -> bool:
    """Whether a tokenizer.json has a vocabulary of this kind."""
    model = document.get("model") or {}
    return model.get("type") == "BPE" and bool(model.get("byte_fallback"))


def read_sentencepiece(document: dict[str, Any], tokenizer: "PreTrainedTokenizerBase", num_rows: int) -> GgufVocabulary:
    """The vocabulary of the loaded tokenizer `document`, one token for each of the `num_rows` rows of the embedding.

    Raise `InvalidRequestError` (`tokenizer_unsupported`) for one that llama.cpp would not compute alike.
    """
    model = document["model"]
    vocab: dict[str, int] = model["vocab"]
    _check_spaces(document)
    if model.get("ignore_merges") or not vocab.keys() >= set(_BYTES):
        raise not_written("llama.cpp needs a token for every byte, and merges every word")
    merges = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    scores = _scores(vocab, merges)
    tokens = [f"[PAD{number}]" for number in range(num_rows)]
    types = [int(gguf.TokenType.UNUSED)] * num_rows
    values = [-1000.0] * num_rows
    for token, number in vocab.items():
        if number < num_rows:
            tokens[number], values[number] = token, scores[token]
            types[number] = int(gguf.TokenType.BYTE if token in _BYTES else gguf.TokenType.NORMAL)
    for number, added in tokenizer.added_tokens_decoder.items():
        if added.lstrip or added.rstrip or added.single_word or (added.normalized and " " in added.content):
            raise not_written(f"its token {added.content!r} takes the text beside it into account")
        if number < num_rows:
            tokens[number] = added.content
            types[number] = int(gguf.TokenType.CONTROL if added.special else gguf.TokenType.USER_DEFINED)
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id < num_rows:
        types[tokenizer.unk_token_id] = int(gguf.TokenType.UNKNOWN)
    return GgufVocabulary("llama", "default", tokens, types, scores=values)


def _check_spaces(document: dict[str, Any]) -> None:
    """Refuse a tokenizer that puts a space in front of texts: llama.cpp and transformers do so for other ones."""
    normalizer, cut = document.get("normalizer"), document.get("pre_tokenizer") or {}
    # No space is left after the normalizer, so that this cuts nothing.
    cuts_nothing = not cut or (cut.get("type") == "Split" and cut.get("pattern") == {"String": " "})
    if normalizer == _REPLACE and cuts_nothing:
        return
    is_whole = cut.get("type") == "Metaspace" and not cut.get("split", True) and cut.get("replacement") == SPACE
    if normalizer is None and is_whole and cut.get("prepend_scheme") == "never":
        return
    raise not_written("it prepares the spaces of a text differently from llama.cpp")


def _scores(vocab: dict[str, int], merges: list[tuple[str, ...]]) -> dict[str, float]:
    """The score of each token; raise `InvalidRequestError` where scores cannot express the merges."""
    rank: dict[str, int] = {}
    for left, right in merges:
        rank.setdefault(left + right, len(rank) + 1)
    scores = {token: -float(rank.get(token, 0)) for token in vocab}
    if _by_token(generate_merges(vocab, scores)) != _by_token(merges):
        raise not_written("scores of tokens cannot express the order of its merges")
    return scores


def _by_token(merges: "list[tuple[str, ...]]") -> list[tuple[str, frozenset[tuple[str, ...]]]]:
    """The pairs that make each token, in the order of the tokens: that of the pairs of one token does not matter."""
    found: dict[str, set[tuple[str, ...]]] = {}
    last = None
    for pair in merges:
        token = "".join(pair)
        if token in found and token != last:
            return [("", frozenset(merges))]  # its pairs are not together
        found.setdefault(token, set()).add(tuple(pair))
        last = token
    return [(token, frozenset(pairs)) for token, pairs in found.items()]

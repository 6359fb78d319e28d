"""Tokens of a tokenizer that have no row in the model's embedding. Training on one fails, or computes nonsense."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ftlab.errors import InvalidRequestError
from train.model.files import TEMPLATE_FILES, TEMPLATE_FOLDER, ModelFiles

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
MAX_BYTES = 256 * 1024**2
USED_BY_NAME = ("bos_token", "eos_token", "pad_token")
"""Tokens that are in every row, or in the padding."""


def tokens_beyond(files: ModelFiles, num_embeddings: int | None) -> dict[int, str]:
    """The tokens without a row in an embedding of `num_embeddings` rows, by their ids.

    Raise `InvalidRequestError` (`model_invalid`) where every job would use one of them: as the beginning or end of a
    text, as padding, or in the chat template.
    """
    if num_embeddings is None:
        return {}
    config = _read(files, TOKENIZER_CONFIG)
    beyond = {number: text for number, text in _tokens(_read(files, TOKENIZER), config) if number >= num_embeddings}
    if not beyond:
        return {}
    used = {name: _content(config.get(name)) for name in USED_BY_NAME}
    templates = _templates(files, config)
    for number, token in sorted(beyond.items()):
        roles = [name for name, text in used.items() if text == token]
        if roles or any(token in template for template in templates):
            where = f"its {roles[0]}" if roles else "in its chat template"
            raise InvalidRequestError(
                f"The tokenizer has the token {token[:100]!r} with id {number} ({where}), and the embedding has "
                f"{num_embeddings} rows (ids 0 to {num_embeddings - 1}). Use the tokenizer that belongs to these "
                "weights, or resize the model's embedding.",
                "model_invalid",
                "model",
            )
    return beyond


def _tokens(tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from ((number, token) for token, number in vocabulary.items() if isinstance(number, int))
    elif isinstance(vocabulary, list):
        yield from ((number, str(entry[0])) for number, entry in enumerate(vocabulary) if isinstance(entry, list))
    for entry in tokenizer.get("added_tokens") or ():
        if isinstance(entry, dict) and isinstance(entry.get("id"), int):
            yield entry["id"], str(entry.get("content"))
    decoder = config.get("added_tokens_decoder")
    for number, entry in (decoder if isinstance(decoder, dict) else {}).items():
        if number.isdecimal() and len(number) < 10:
            yield int(number), _content(entry) or ""


def _templates(files: ModelFiles, config: Mapping[str, Any]) -> list[str]:
    names = [name for name in files.sizes if name in TEMPLATE_FILES or name.startswith(f"{TEMPLATE_FOLDER}/")]
    found = [files.read(name, MAX_BYTES).decode("utf-8", "replace") for name in names]
    return [*found, json.dumps(config.get("chat_template"), ensure_ascii=False)]


def _content(entry: object) -> str | None:
    """The text of a token, which is given directly or in an object."""
    text = entry.get("content") if isinstance(entry, dict) else entry
    return text if isinstance(text, str) and text else None


def _read(files: ModelFiles, name: str) -> dict[str, Any]:
    """The file as an object; empty where there is none. Raise `InvalidRequestError` (`model_invalid`) for another."""
    if name not in files.sizes or files.sizes[name] > MAX_BYTES:
        return {}
    try:
        document = json.loads(files.read(name, MAX_BYTES))
        if isinstance(document, dict):
            return document
    except (OSError, ValueError, RecursionError):
        pass
    raise InvalidRequestError(
        f"{name} of the model cannot be read as a JSON object; fetch the model again.", "model_invalid", "model"
    )

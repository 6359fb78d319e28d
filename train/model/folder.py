"""The files of a base model in a folder of this machine."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

from ftlab.errors import NotFoundError
from train.model.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, TEMPLATE_FOLDER, VOCABULARY_FILES, ModelFacts, describe
from train.model.token_ids import tokens_beyond

Stamps = tuple[tuple[str, int, int], ...]
"""Name, bytes and time of change of every file."""


class FolderFiles:
    """`ModelFiles` of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        return {name: size for name, size, _ in _stamps(self._folder)}

    def read(self, name: str, limit: int) -> bytes:
        with (self._folder / name).open("rb") as stream:
            return stream.read(limit)


def facts_of(folder: Path) -> ModelFacts:
    """The result of `describe` for the folder; while no file changes, the files are not read again.

    Raises what `describe` raises, and `NotFoundError` (`model_not_found`) for a folder that does not exist.
    """
    return _facts(folder, _stamps(folder))


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder holds a tokenizer that can be loaded without the config of its model."""
    names = FolderFiles(folder).sizes.keys()
    return "tokenizer_config.json" in names and not VOCABULARY_FILES.isdisjoint(names)


def adapter_size(folder: Path) -> int | None:
    """Bytes of the adapter in the folder; `None` where there is none."""
    sizes = FolderFiles(folder).sizes
    return sizes[ADAPTER_WEIGHTS] if {ADAPTER_CONFIG, ADAPTER_WEIGHTS} <= sizes.keys() else None


@lru_cache(maxsize=256)
def _facts(folder: Path, _: Stamps) -> ModelFacts:
    files = FolderFiles(folder)
    facts = describe(files)
    beyond = tokens_beyond(files, facts.layers.num_embeddings if facts.layers else None)
    if not beyond or facts.layers is None:
        return facts
    number, token = min(beyond.items())
    warning = (
        f"The tokenizer has {len(beyond)} tokens without a row in the embedding, as {token[:100]!r} with id {number}: "
        f"the embedding has {facts.layers.num_embeddings} rows. A job whose rows contain one fails."
    )
    return replace(facts, tokens_beyond=beyond, warnings=(*facts.warnings, warning))


def _stamps(folder: Path) -> Stamps:
    try:
        found = [*_entries(folder, ""), *_entries(folder / TEMPLATE_FOLDER, f"{TEMPLATE_FOLDER}/")]
    except OSError:
        raise NotFoundError("There is no folder at the model's path.", "model_not_found", "model") from None
    if not found:
        raise NotFoundError("There is no model at the model's path.", "model_not_found", "model")
    return tuple(sorted(found))


def _entries(folder: Path, prefix: str) -> list[tuple[str, int, int]]:
    """The files of a folder, in as few system calls as possible: a submission waits for them."""
    if prefix and not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        stats = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    return [(prefix + name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]

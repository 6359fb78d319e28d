"""The identity of rows, by which a split keeps equal rows on one side.

A row is identified by its roles, words and tool calls, and a pair or a rated answer by its prompt alone, so that no
prompt is both trained and evaluated. So is a conversation of which a method learns from the prompt alone.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.data.doctor.content import text_of
from train.data.eval_split import FileSplit, Keys, check_sides, split_rows
from train.data.rows.canonical import CanonicalFile, Row
from train.data.split_spec import SplitSpec
from train.data.tokens.prepare import PROGRESS_ROWS, OnProgress, content_of, prepared_cache
from train.data.tokens.prompts import answer_place

VERSION = 1
"""Version of the keys; with another one, other rows are held out."""
KEYS_FILE = "keys.npy"


def split_files(
    files: Sequence[Path],
    spec: SplitSpec,
    cache_folder: Path,
    names: Sequence[str],
    on_progress: OnProgress = lambda _: None,
) -> list[FileSplit]:
    """Split the rows of a job's files, which `names` are the datasets of.

    Raise what `row_keys` and `check_sides` raise.
    """
    keys = [row_keys(file, cache_folder, on_progress, by_prompt=spec.by_prompt) for file in files]
    splits = split_rows(keys, spec)
    check_sides(splits, keys, spec, names)
    return splits


def row_keys(
    rows: Path, cache_folder: Path, on_progress: OnProgress = lambda _: None, *, by_prompt: bool = False
) -> Keys:
    """The keys of a file's rows, from the cache if possible; they depend on the rows alone.

    `on_progress` is called repeatedly with the number of rows done. Raise `DatasetInvalidError` for rows that are
    missing.
    """

    def build(folder: Path) -> dict[str, Any]:
        with CanonicalFile.open(rows) as file:
            keys = _keys_of(file, on_progress, by_prompt=by_prompt)
        np.save(folder / KEYS_FILE, keys)
        return {"num_rows": len(keys)}

    name = json.dumps(["row keys", VERSION, content_of(rows), *(["by prompt"] if by_prompt else [])])
    key = hashlib.sha256(name.encode()).hexdigest()
    entry = prepared_cache(cache_folder).get(key, build, lambda: on_progress(0))
    try:
        keys: Keys = np.load(entry.folder / KEYS_FILE)
        return keys
    finally:
        entry.close()


def _keys_of(file: CanonicalFile, on_progress: OnProgress, *, by_prompt: bool) -> Keys:
    digests = bytearray()
    for number, (_, row) in enumerate(file.rows(), 1):
        digests += hashlib.blake2b(_identity(row, by_prompt=by_prompt).encode(), digest_size=8).digest()
        if number % PROGRESS_ROWS == 0:
            on_progress(number)
    return np.frombuffer(bytes(digests), "<u8").astype(np.uint64)


def _identity(row: Row, *, by_prompt: bool) -> str:
    """The text that identifies a row: that by which the doctor finds equal rows, of the prompt where there is one."""
    if by_prompt and (place := answer_place(row.get("messages", []))):
        row = {"messages": row["messages"][:place]}
    return text_of({"messages": row["prompt"]} if row.get("prompt") else row)[0]

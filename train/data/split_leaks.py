"""Evaluation rows that are nearly equal to trained rows, where a split puts them on different sides."""

import hashlib
import json
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from train.data.doctor.content import text_of
from train.data.doctor.near_duplicates import Fingerprints, find_repeats
from train.data.eval_split import FileSplit
from train.data.rows.canonical import CanonicalFile
from train.data.tokens.prepare import OnProgress, content_of, prepared_cache

VERSION = 1
"""Version of the counts; a new number makes them again."""


def num_leaks(
    files: Sequence[Path], splits: Sequence[FileSplit], cache_folder: Path, on_progress: OnProgress = lambda _: None
) -> int:
    """How many rows that are set aside are equal or nearly equal to a trained row; from the cache if possible.

    Nearly equal rows are found among the first million of each side; with more than four million rows, the number of
    equal ones is estimated from a sample. `on_progress` is called repeatedly with 0.
    """

    def build(_: Path) -> dict[str, Any]:
        trained, held_out = Fingerprints(), Fingerprints()
        for path, split in zip(files, splits, strict=True):
            _add_rows(path, split, trained, held_out, on_progress)
        shared = find_repeats(trained, held_out)[1]
        num_equal = round(len(shared.equal.rows) * max(trained.scale, held_out.scale))
        return {"num_leaks": num_equal + len(shared.near.rows)}

    sides = [
        [content_of(path), split.train.digest, split.eval.digest] for path, split in zip(files, splits, strict=True)
    ]
    key = hashlib.sha256(json.dumps(["split leaks", VERSION, sides]).encode()).hexdigest()
    entry = prepared_cache(cache_folder).get(key, build, lambda: on_progress(0))
    try:
        return int(entry.manifest["num_leaks"])
    finally:
        entry.close()


def _add_rows(
    path: Path, split: FileSplit, trained: Fingerprints, held_out: Fingerprints, on_progress: OnProgress
) -> None:
    start = 0
    with CanonicalFile.open(path) as file:
        for batch in file.batches():
            rows = [row for _, row in batch]
            for side, fingerprints in ((split.train, trained), (split.eval, held_out)):
                flags = side.flags[start : start + len(rows)].tolist()
                if texts := [text_of(row) for row in compress(rows, flags)]:
                    fingerprints.add(*zip(*texts, strict=True))
            start += len(rows)
            on_progress(0)

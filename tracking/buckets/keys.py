"""Where things lie inside a bucket. Keys are made of hashes and of ids that the server made, never of input."""

import hashlib
import json
from collections.abc import Mapping

from tracking.store.records import DatasetRecord

BLOBS = "blobs"
CANONICAL = "canonical"


def blob_key(sha256: str) -> str:
    """The file as it was uploaded."""
    return f"{BLOBS}/{sha256}"


def canonical_key(sha256: str, *, version: str, format: str, shape: str, columns: Mapping[str, str]) -> str:
    """The canonical rows of that file: what they depend on besides the file is in the key."""
    conversion = {"version": version, "format": format, "shape": shape, "columns": dict(columns)}
    text = json.dumps(conversion, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{canonical_prefix(sha256)}{hashlib.sha256(text.encode()).hexdigest()[:12]}.arrow"


def canonical_prefix(sha256: str) -> str:
    """What the keys of all canonical rows of that file begin with."""
    return f"{CANONICAL}/{sha256}-"


def source_key(dataset: DatasetRecord) -> str:
    """Where a dataset's uploaded file lies; without canonical rows, in a folder of its own."""
    return blob_key(dataset.sha256) if dataset.canonical else f"{dataset.id}/source"


def rows_key(dataset: DatasetRecord) -> str:
    """Where the rows lie that training reads."""
    return dataset.canonical or f"{dataset.id}/rows.jsonl"

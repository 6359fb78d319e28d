"""Folders of files with the manifest that lists them, as a training process commits them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlab.manifest import MANIFEST

COMMITTED_AT = "2026-03-04T05:06:08.123456+00:00"


def commit_folder(folder: Path, files: Mapping[str, bytes], **fields: Any) -> Path:
    """Write `files` and their manifest, in which `fields` replace what is usual here."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    listed = {name: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}
    write_manifest(folder, files=listed, **fields)
    return folder


def write_manifest(folder: Path, **fields: Any) -> None:
    document = {
        "job_id": "job-1",
        "attempt": 1,
        "step": 10,
        "samples": 20,
        "metrics": {},
        "files": {},
        "versions": {},
        "committed_at": COMMITTED_AT,
    }
    (folder / MANIFEST).write_text(json.dumps(document | fields))

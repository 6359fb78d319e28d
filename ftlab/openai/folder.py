"""A folder of files of OpenAI: training files in JSONL, and the JSON of files and jobs, in any order and depth."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftlab.openai.fetch import RESULTS
from ftlab.openai.rows import MAX_LINE_BYTES, options_of


@dataclass(frozen=True)
class TrainingFile:
    """A file of rows."""

    path: Path
    name: str
    """The name that it was uploaded under."""
    id: str | None = None
    """Its id at OpenAI, where it is known."""

    @property
    def options(self) -> dict[str, Any]:
        """`shape` and `columns` of the dataset to be made of it."""
        with self.path.open("rb") as file:
            return options_of(file.readline(MAX_LINE_BYTES))


@dataclass(frozen=True)
class OpenAiFolder:
    """What a folder holds."""

    files: list[TrainingFile] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    """Documents of fine-tuning jobs, the oldest first."""

    @classmethod
    def read(cls, folder: Path) -> "OpenAiFolder":
        """Look at all files below the folder. Documents that are not OpenAI's are ignored."""
        documents = [document for path in sorted(folder.rglob("*.json")) for document in _documents(path)]
        described = {each["id"]: each for each in documents if each.get("object") == "file"}
        jobs = {each["id"]: each for each in documents if each.get("object") == "fine_tuning.job"}
        files = [_training_file(path, described) for path in sorted(folder.rglob("*.jsonl"))]
        found = [file for file in files if file is not None]
        return cls(found, sorted(jobs.values(), key=lambda job: (job.get("created_at") or 0, job["id"])))


def _training_file(path: Path, described: dict[str, dict[str, Any]]) -> TrainingFile | None:
    by_id = described.get(path.stem)
    by_name = [each for each in described.values() if each.get("filename") == path.name]
    found = by_id or (by_name[0] if len(by_name) == 1 else None)
    if found is None:
        return TrainingFile(path, path.name, path.stem if path.stem.startswith("file-") else None)
    if found.get("purpose") == RESULTS:
        return None
    return TrainingFile(path, str(found.get("filename") or path.name), found["id"])


def _documents(path: Path) -> list[dict[str, Any]]:
    """The documents of OpenAI in a JSON file: one, or a list as a page of the API has it."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return []
    items = value.get("data") if isinstance(value, dict) and value.get("object") == "list" else value
    each = items if isinstance(items, list) else [items]
    return [item for item in each if isinstance(item, dict) and isinstance(item.get("id"), str)]

"""From `CONFIG.yaml` and `--set` to a checked job config, and the dataset files that it names."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from ftlab.schemas.job_file import parse_job_config, read_yaml

DATASET_FIELDS = ("dataset", "eval_dataset")
DATASET_SUFFIXES = (".jsonl", ".json")


@dataclass(frozen=True)
class JobSource:
    """A config that is valid except for the dataset files, which have no ids yet."""

    config: JobConfig
    files: dict[str, Path]
    """By field: the local file to upload."""

    def with_ids(self, ids: dict[str, str]) -> JobConfig:
        return self.config.model_copy(update=ids)


def read_job(path: Path, assignments: Sequence[str]) -> JobSource:
    """Read and check a job file; `-` is the standard input.

    Raises `InvalidRequestError` with one line on what is wrong and where.
    """
    source, folder = ("standard input", Path.cwd()) if str(path) == "-" else (str(path), path.parent)
    document = read_yaml(_text(path), source)
    if not isinstance(document, dict):
        raise InvalidRequestError(f"{source} must hold settings such as 'model: org/name'.", "invalid_config")
    for assignment in assignments:
        assign(document, assignment)
    files = {field: file for field in DATASET_FIELDS if (file := _dataset_file(document.get(field), folder, source))}
    config = parse_job_config(document | {field: file.name[:100] for field, file in files.items()}, source)
    return JobSource(config, files)


def assign(document: dict[str, Any], assignment: str) -> None:
    """Carry out one `--set a.b=value`; the value is read as YAML."""
    name, equals, text = assignment.partition("=")
    path = name.strip().split(".")
    if not equals or not all(path):
        raise InvalidRequestError(f"--set {assignment!r} must look like training.max_steps=10.", "invalid_option")
    place = document
    for part in path[:-1]:
        below = place.setdefault(part, {})
        if not isinstance(below, dict):
            raise InvalidRequestError(f"--set {assignment!r}: {part!r} is no group of settings.", "invalid_option")
        place = below
    place[path[-1]] = read_yaml(text, f"--set {name}")


def _text(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise InvalidRequestError(f"There is no file {str(path)!r}.", "file_not_found") from None
    except IsADirectoryError:
        raise InvalidRequestError(f"{str(path)!r} is a folder, not a job file.", "file_not_found") from None
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{str(path)!r} is not a text file in UTF-8.", "invalid_yaml") from None


def _dataset_file(value: object, folder: Path, source: str) -> Path | None:
    """The file that a dataset field means; `None` when it holds an id."""
    if not isinstance(value, str) or not value:
        return None
    file = folder / Path(value).expanduser()
    if file.is_file():
        return file
    if "/" in value or value.endswith(DATASET_SUFFIXES):
        raise InvalidRequestError(f"{source}: there is no dataset file {str(file)!r}.", "file_not_found", "dataset")
    return None

"""The manifest of a committed folder: a checkpoint, or a tuned model."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_serializer

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 * 1024**2
MAX_NAME_CHARS = 1000


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class ManifestFile(_Document):
    """One file as it was when its folder was committed."""

    size: int = Field(ge=0)
    """Bytes."""
    sha256: str
    """Hexadecimal."""


class Manifest(_Document):
    """Contents of a committed folder."""

    job_id: str
    attempt: int
    step: int
    samples: int
    """Training rows consumed so far."""
    metrics: dict[str, float]
    files: dict[str, ManifestFile]
    """By their names, which are relative POSIX paths."""
    versions: dict[str, str]
    committed_at: AwareDatetime
    is_scheduled: bool = True
    """Whether a run without interruption saves at this step too: only such a checkpoint can be the best one, so that
    an interruption does not change what is delivered."""
    conditions: dict[str, Any] = Field(default_factory=dict)
    """What decides the bits of a run that resumes here (`train.checkpoints.resume_report`); empty in a model."""

    @classmethod
    def parse(cls, content: bytes, folder_name: str) -> Self:
        """Raise `ValueError` that says what is wrong, in words that name the folder."""
        if len(content) > MAX_MANIFEST_BYTES:
            raise ValueError(f"{folder_name} has an unreadable manifest")
        try:
            manifest = cls.model_validate_json(content)
        except ValidationError:
            raise ValueError(f"{folder_name} has an unreadable manifest") from None
        if not all(map(_is_inside, manifest.files)):
            raise ValueError(f"{folder_name} has a manifest that names a file outside its folder")
        return manifest

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files.values())

    def to_json(self) -> bytes:
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True).encode()

    @field_serializer("committed_at")
    def _as_iso_format(self, at: datetime) -> str:
        return at.isoformat()


def read_manifest(folder: Path) -> Manifest:
    """Raise `ValueError` that says what is wrong with the manifest. The files it lists are not looked at."""
    try:
        with (folder / MANIFEST).open("rb") as stream:
            content = stream.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise ValueError(f"{folder.name} has no manifest") from None
    return Manifest.parse(content, folder.name)


def _is_inside(name: str) -> bool:
    """Whether `name` is a plain relative path."""
    is_plain = not {"", ".", ".."} & set(name.split("/")) and "\\" not in name and "\0" not in name
    return is_plain and len(name) <= MAX_NAME_CHARS

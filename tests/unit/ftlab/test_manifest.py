"""The one reader of a committed folder's manifest, as strict as its strictest user needs it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ftlab.manifest import MANIFEST, MAX_MANIFEST_BYTES, Manifest, ManifestFile, read_manifest
from tests.support.committed_folders import write_manifest

FILE = {"size": 3, "sha256": "0" * 64}


def test_a_written_manifest_is_read_back_as_it_was(tmp_path: Path):
    manifest = Manifest(
        job_id="job-1",
        attempt=2,
        step=30,
        samples=60,
        metrics={"loss": 0.25},
        files={"model.safetensors": ManifestFile(size=3, sha256="0" * 64)},
        versions={"torch": "2.13.0"},
        committed_at=datetime(2026, 3, 4, 5, 6, 8, tzinfo=UTC),
        conditions={"rng_sha256": None},
    )
    (tmp_path / MANIFEST).write_bytes(manifest.to_json())
    assert read_manifest(tmp_path) == manifest
    document = json.loads(manifest.to_json())
    assert document["committed_at"] == "2026-03-04T05:06:08+00:00"
    assert document["conditions"] == {"rng_sha256": None}


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"a": {"size": 3}}},
        {"files": {"a": {"size": "3", "sha256": "0"}}},
        {"files": {"a": {"size": -1, "sha256": "0"}}},
        {"files": ["a"]},
        {"step": "10"},
        {"committed_at": "2026-03-04T05:06:08"},
        {"something_else": 1},
    ],
)
def test_another_shape_is_refused(tmp_path: Path, change: dict[str, Any]):
    write_manifest(tmp_path, **change)
    with pytest.raises(ValueError, match=f"{tmp_path.name} has an unreadable manifest"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../a", "/a", "b/../../a", "./a", "b//a", "b\\a", "", "..", "a/", "a\0b", "a" * 1001])
def test_a_name_that_is_not_plain_and_relative_is_refused(tmp_path: Path, name: str):
    write_manifest(tmp_path, files={name: FILE})
    with pytest.raises(ValueError, match="a file outside its folder"):
        read_manifest(tmp_path)


def test_a_manifest_that_is_missing_or_too_large_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="has no manifest"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, job_id="x" * MAX_MANIFEST_BYTES)
    with pytest.raises(ValueError, match="unreadable manifest"):
        read_manifest(tmp_path)

"""Base models: finding them, telling their revision."""

import json
import shutil
from pathlib import Path

import pytest

from ftlab.errors import InvalidRequestError, NotFoundError
from train.model.base_model import BaseModel, find_model, fingerprint


def test_a_model_on_this_machine_is_known_by_its_hub_id(models: Path):
    base = find_model("org/tiny", models)
    assert base == BaseModel("org/tiny", models / "org--tiny", fingerprint(models / "org--tiny"))
    assert base.revision.startswith("local-")


def test_a_folder_is_known_by_its_path(models: Path):
    folder = str(models / "org--tiny")
    assert find_model(folder, Path("/none")).name == folder


def test_a_folder_that_is_gone(models: Path, tmp_path: Path):
    with pytest.raises(NotFoundError) as caught:
        find_model(str(tmp_path / "gone"), models)
    assert caught.value.code == "model_not_found"


def test_a_folder_that_holds_no_model(models: Path, tmp_path: Path):
    with pytest.raises(NotFoundError, match=r"config\.json") as caught:
        find_model(str(tmp_path), models)
    assert caught.value.code == "model_not_found"


def test_the_fingerprint_follows_what_a_folder_holds(models: Path, tmp_path: Path):
    copy = Path(shutil.copytree(models / "org--tiny", tmp_path / "copy"))
    before = fingerprint(copy)
    assert before == fingerprint(models / "org--tiny")
    (copy / "README.md").write_text("words")
    assert fingerprint(copy) == before
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    changed = fingerprint(copy)
    assert changed != before
    (copy / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert fingerprint(copy) not in (before, changed)


def test_a_model_that_was_pinned_here_is_not_looked_for_elsewhere(models: Path, tmp_path: Path):
    with pytest.raises(NotFoundError) as caught:
        find_model("org/gone", models, pinned="local-0123456789abcdef")
    assert caught.value.code == "model_not_found"


def test_a_damaged_folder_is_told_before_it_is_loaded(models: Path, tmp_path: Path):
    copy = Path(shutil.copytree(models / "org--tiny", tmp_path / "copy"))
    with (copy / "model.safetensors").open("r+b") as stream:
        stream.truncate((copy / "model.safetensors").stat().st_size - 1)
    with pytest.raises(InvalidRequestError, match="should have") as caught:
        find_model(str(copy), models)
    assert caught.value.code == "model_invalid"

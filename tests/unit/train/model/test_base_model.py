"""Base models: finding them, telling their revision."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ftlab.errors import InvalidRequestError, NotFoundError
from train.model.base_model import BaseModel, find_model, fingerprint
from train.plan import LocalBase


def test_a_model_on_this_machine_is_known_by_its_hub_id(models: Path):
    base = find_model("org/tiny", models)
    assert base == BaseModel("org/tiny", models / "org--tiny", fingerprint(models / "org--tiny"))
    assert base.revision.startswith("local-")


def test_a_folder_is_known_by_its_path(models: Path):
    folder = str(models / "org--tiny")
    assert find_model(folder, Path("/none")).name == folder


def test_a_folder_of_a_former_job_is_known_by_its_name(models: Path, tmp_path: Path):
    local = LocalBase("model:mdl-1", models / "org--tiny", "ftlab download job-1")
    full = find_model(str(local.folder), Path("/none"), local=local)
    assert full == BaseModel("model:mdl-1", local.folder, fingerprint(local.folder), download="ftlab download job-1")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "model:mdl-1"}))
    assert find_model(str(tmp_path), Path("/none"), local=local) == replace(full, adapter=tmp_path)
    with pytest.raises(NotFoundError, match="model:mdl-1 no longer exist") as caught:
        find_model(str(tmp_path / "gone"), models, local=replace(local, folder=tmp_path / "gone"))
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"base_model_name_or_path": 1}', "[" * 100_000])
def test_an_adapter_that_names_no_base_model(models: Path, tmp_path: Path, content: str):
    (tmp_path / "adapter_config.json").write_text(content)
    local = LocalBase("model:mdl-1", tmp_path)
    for known in (None, local):
        with pytest.raises(InvalidRequestError, match="does not name a base model"):
            find_model(str(tmp_path), models, local=known)


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

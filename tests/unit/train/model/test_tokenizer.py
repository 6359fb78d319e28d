"""The tokenizer of a base model, without its weights."""

import json
from pathlib import Path

import pytest

from ftlab.errors import NotFoundError, ServiceUnavailableError
from tests.support.huggingface_server import HubServer, Repository
from tests.support.model_folders import write_adapter, write_model
from tests.support.tiny_models import make_tiny_model, make_tiny_tokenizer
from train.model.base_model import find_model
from train.model.tokenizer import find_tokenizer, load_tokenizer


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_of_a_hub_model_only_the_tokenizer_is_fetched(server: HubServer, models: Path):
    base = find_tokenizer("org/name", models)
    assert names(base.folder) == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert base.revision == server.repositories["org/name"].sha
    assert server.gets(".safetensors") == 0
    # A job that comes later is not misled by the half of a model.
    assert "model-00001-of-00002.safetensors" in names(find_model("org/name", models).folder)


def test_a_pinned_revision_is_the_one_that_is_fetched(server: HubServer, models: Path):
    sha = server.repositories["org/name"].sha
    assert find_tokenizer("org/name", models, pinned=sha).revision == sha
    assert find_tokenizer(f"org/name@{sha}", models).revision == sha
    with pytest.raises(NotFoundError):
        find_tokenizer("org/name@gone", models)


def test_what_was_fetched_stands_in_while_the_hub_is_away(server: HubServer, models: Path):
    folder = find_tokenizer("org/name", models).folder
    server.answers_with = 503
    assert find_tokenizer("org/name", models).folder == folder
    with pytest.raises(ServiceUnavailableError) as caught:
        find_tokenizer("org/other", models)
    assert caught.value.code == "model_hub_away"


def test_a_model_on_this_machine_asks_nobody(server: HubServer, models: Path):
    local = write_model(models / "org--name")
    assert find_tokenizer("org/name", models) == find_model("org/name", models)
    assert find_tokenizer(str(local), models).folder == local
    assert not server.requests


def test_a_pinned_revision_is_the_one_that_a_job_would_take(server: HubServer, models: Path):
    sha = server.repositories["org/name"].sha
    local = write_model(models / "org--name")
    for pinned in (None, sha, find_model("org/name", models).revision):
        found = find_tokenizer("org/name", models, pinned=pinned)
        assert found.revision == find_model("org/name", models, pinned=pinned).revision
        assert (found.folder == local) is (pinned != sha)
    revision = f"org/name@{sha}"
    pinned = find_model("org/name", models).revision
    assert find_tokenizer(revision, models, pinned=pinned) == find_model(revision, models, pinned=pinned)


def test_an_adapter_has_the_tokenizer_of_its_base(server: HubServer, models: Path, tmp_path: Path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/name"}))
    assert find_tokenizer(str(tmp_path / "adapter"), models).name == "org/name"
    assert server.gets(".safetensors") == 0


def test_an_adapter_with_a_tokenizer_of_its_own(server: HubServer, models: Path, tmp_path: Path):
    make_tiny_model(models / "org--tiny")
    folder = write_adapter(tmp_path / "adapter", "org/tiny")
    assert find_tokenizer(str(folder), models).tokenizer_folder == models / "org--tiny"
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = "{{ 'own' }}"
    tokenizer.save_pretrained(folder)
    for found in (find_tokenizer(str(folder), models), find_model(str(folder), models)):
        assert (found.folder, found.tokenizer_folder) == (models / "org--tiny", folder)
        assert load_tokenizer(found).chat_template == "{{ 'own' }}"
    far = server.repositories["org/far"] = Repository(folder)
    found = find_tokenizer(f"org/far@{far.sha}", models)
    assert (found.folder, found.tokenizer_folder.name) == (models / "org--tiny", far.sha)
    assert load_tokenizer(found).chat_template == "{{ 'own' }}"
    assert server.gets(".safetensors") == 0

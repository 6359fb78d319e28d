"""Which base models a job may start from: folders, models of the hub, former jobs."""

import json
from pathlib import Path

import pytest

from ftlab.errors import FineTuneLabError, PermissionDeniedError
from ftlab.settings import Settings
from serve.models.base_model import NOT_ASKED, HubAnswer, check
from serve.models.huggingface_lookup import HubModel
from tests.support.model_folders import write_model
from tests.support.service_fakes import COMMIT, FACTS


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "home" / "models").mkdir(parents=True)
    return Settings(home=tmp_path / "home")


def refused(path: Path | str, settings: Settings) -> str:
    with pytest.raises(FineTuneLabError) as caught:
        check(str(path), settings, NOT_ASKED)
    assert caught.value.param == "model"
    assert str(path) not in caught.value.message
    return caught.value.code


def test_a_complete_model_below_an_allowed_folder_is_accepted(settings, tmp_path):
    folder = write_model(settings.home / "models" / "mine")
    checked = check(f"{settings.home}//models/mine/", settings, NOT_ASKED)
    assert (str(checked.ref), checked.is_here, checked.revision) == (str(folder), True, None)
    other = write_model(tmp_path / "elsewhere" / "mine")
    assert refused(other, settings) == "invalid_model_id"
    check(str(other), Settings(home=settings.home, model_roots=(tmp_path / "elsewhere",)), NOT_ASKED)


def test_symbolic_links_do_not_lead_out(settings, tmp_path):
    outside = write_model(tmp_path / "outside")
    link = settings.home / "models" / "link"
    link.symlink_to(outside)
    assert refused(link, settings) == "invalid_model_id"
    inside = write_model(settings.home / "models" / "real")
    (settings.home / "models" / "alias").symlink_to(inside)
    check(str(settings.home / "models" / "alias"), settings, NOT_ASKED)


def test_a_link_to_itself_is_not_found(settings):
    loop = settings.home / "models" / "loop"
    loop.symlink_to(loop)
    assert refused(loop, settings) == "model_not_found"


@pytest.mark.parametrize("name", ["missing", "x" * 300, "empty"])
def test_folders_that_are_no_models(settings, name):
    (settings.home / "models" / "empty").mkdir()
    assert refused(settings.home / "models" / name, settings) == "model_not_found"


def test_a_hub_model_in_the_models_folder_needs_no_hub(settings):
    write_model(settings.home / "models" / "org--here")
    checked = check("org/here", settings, NOT_ASKED)
    assert (checked.is_here, checked.revision, checked.facts.parameters) == (True, None, 8)
    write_model(settings.home / "models" / "org--damaged", without=["model.safetensors"])
    assert refused("org/damaged", settings) == "model_not_found"


def test_a_hub_model_elsewhere_is_what_the_hub_says(settings):
    answer = HubAnswer(is_asked=True, model=HubModel(COMMIT, FACTS))
    checked = check("org/there", settings, answer)
    assert (checked.is_here, checked.revision, checked.facts) == (False, COMMIT, FACTS)
    # A revision is always the hub's.
    write_model(settings.home / "models" / "org--there")
    assert check("org/there@main", settings, answer).revision == COMMIT
    away = HubAnswer(is_asked=True)
    assert away.is_away
    assert check("org/there@main", settings, away).facts is None
    refusal = PermissionDeniedError("It is gated.", "model_access_denied", "model")
    with pytest.raises(PermissionDeniedError):
        check("org/gated", settings, HubAnswer(is_asked=True, refusal=refusal))


def test_a_changed_file_is_read_again(settings):
    folder = write_model(settings.home / "models" / "mine")
    assert check(str(folder), settings, NOT_ASKED).facts.architecture == "LlamaForCausalLM"
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    assert check(str(folder), settings, NOT_ASKED).facts.architecture == "Qwen3ForCausalLM"

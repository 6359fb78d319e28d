"""Which local models a job may start from."""

from pathlib import Path

import pytest

from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.model_ref import ModelRef, parse_model_ref
from ftlab.settings import Settings
from serve.model_check import check_local


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "home" / "models").mkdir(parents=True)
    return Settings(home=tmp_path / "home")


def make_model(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_text("{}")
    return folder


def refused(path: Path, settings: Settings) -> str:
    with pytest.raises((InvalidRequestError, NotFoundError)) as caught:
        check_local(ModelRef("path", str(path)), settings)
    assert caught.value.param == "model"
    assert str(path) not in caught.value.message
    return caught.value.code


def test_a_complete_model_below_an_allowed_folder_is_accepted(settings, tmp_path):
    folder = make_model(settings.home / "models" / "mine", "config.json", "model.safetensors")
    check_local(ModelRef("path", str(folder)), settings)
    other = make_model(tmp_path / "elsewhere" / "mine", "config.json", "model.safetensors")
    assert refused(other, settings) == "invalid_model_id"
    check_local(ModelRef("path", str(other)), Settings(home=settings.home, model_roots=(tmp_path / "elsewhere",)))


def test_symbolic_links_do_not_lead_out(settings, tmp_path):
    outside = make_model(tmp_path / "outside", "config.json", "model.safetensors")
    link = settings.home / "models" / "link"
    link.symlink_to(outside)
    assert refused(link, settings) == "invalid_model_id"
    inside = make_model(settings.home / "models" / "real", "config.json", "model.safetensors")
    (settings.home / "models" / "alias").symlink_to(inside)
    check_local(ModelRef("path", str(settings.home / "models" / "alias")), settings)


def test_a_link_to_itself_is_not_found(settings):
    loop = settings.home / "models" / "loop"
    loop.symlink_to(loop)
    assert refused(loop, settings) == "model_not_found"


def test_incomplete_models_are_refused(settings):
    models = settings.home / "models"
    assert refused(models / "missing", settings) == "model_not_found"
    assert refused(models / ("x" * 300), settings) == "model_not_found"
    assert refused(make_model(models / "no-config", "model.safetensors"), settings) == "model_not_found"
    assert refused(make_model(models / "no-weights", "config.json"), settings) == "model_not_found"
    pickled = make_model(models / "pickled", "config.json", "pytorch_model.bin")
    assert refused(pickled, settings) == "unsafe_weights"


def test_hub_models_are_checked_when_they_are_here(settings):
    check_local(parse_model_ref("org/unknown"), settings)
    make_model(settings.home / "models" / "org--pickled", "config.json", "weights.pt")
    with pytest.raises(InvalidRequestError) as caught:
        check_local(parse_model_ref("org/pickled"), settings)
    assert caught.value.code == "unsafe_weights"

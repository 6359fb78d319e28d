"""The environment of the cluster: where its processes keep models, and what they get to know."""

import pytest

from cluster.machine.environment import ray_environment
from ftlab.settings import Settings


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return Settings(home=tmp_path)


def test_models_of_the_hub_are_kept_with_the_other_data(settings):
    assert ray_environment(settings)["HF_HUB_CACHE"] == str(settings.home / "cache" / "hub")


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE"])
def test_unless_the_environment_says_where(settings, monkeypatch, name):
    monkeypatch.setenv(name, "/models")
    environment = ray_environment(settings)
    assert environment[name] == "/models"
    assert environment.get("HF_HUB_CACHE") in (None, "/models")

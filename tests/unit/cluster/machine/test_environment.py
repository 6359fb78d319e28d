"""The environment of the cluster: where its processes keep models, and what they get to know."""

import re
import stat
from pathlib import Path

import pytest
import ray

from cluster.machine.environment import RAY_DEFAULTS, RAY_METRICS, ensure_token, ray_environment, token_file
from ftlab.errors import InvalidRequestError
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


def test_the_token_of_ray_is_for_its_owner_alone(settings):
    ensure_token(settings)
    file = token_file(settings)
    token = file.read_text()
    assert (stat.S_IMODE(file.stat().st_mode), len(token)) == (0o600, 64)
    ensure_token(settings)
    assert file.read_text() == token
    file.chmod(0o640)
    with pytest.raises(InvalidRequestError, match=f"Run: chmod 600 {file}") as refused:
        ensure_token(settings)
    assert refused.value.code == "unsafe_token_file"


def test_ray_knows_the_settings():
    """It ignores an unknown one."""
    folder = Path(ray.__file__).parent
    places = {
        re.compile("RAY_(?=[a-z])"): folder / "core/src/ray/raylet/raylet",
        re.compile("(?=RAY_SERVE_)"): folder / "serve/_private/constants.py",
    }
    for place, file in places.items():
        text = file.read_bytes()
        names = [place.sub("", name) for name in (*RAY_DEFAULTS, RAY_METRICS) if place.match(name)]
        assert names
        assert [name for name in names if name.encode() not in text] == []


@pytest.mark.parametrize(("given", "expected"), [(None, "0"), ("1", "1")])
def test_ray_exports_its_metrics_where_the_environment_says_so(settings, monkeypatch, given, expected):
    """Where nobody fetches them, the agent keeps those of every process that ever ran."""
    monkeypatch.delenv(RAY_METRICS, raising=False)
    if given:
        monkeypatch.setenv(RAY_METRICS, given)
    assert ray_environment(settings)[RAY_METRICS] == expected

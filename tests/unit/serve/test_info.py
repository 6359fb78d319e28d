"""`/api/info`: the addresses that a user needs, and never the token itself."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from ftlab.schemas.accounts import Scope
from serve.app import create_app
from serve.context import Services
from tests.unit.serve.accounts.with_keys import add_key
from tracking.store import Store


def test_it_gives_the_addresses_of_the_settings_and_the_place_of_the_token(client, settings):
    (settings.home / "ray_token").write_text("canary")
    reply = client.get("/api/info")
    assert reply.status_code == 200
    assert reply.json() | {"version": ""} == {
        "version": "",
        "mlflow_url": settings.mlflow_page("experiments"),
        "dashboard_url": settings.dashboard_url,
        "dashboard_token_file": str(settings.home / "ray_token"),
    }
    assert "canary" not in reply.text


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5"])
def test_a_caller_who_may_be_elsewhere_does_not_learn_paths(services: Services, store: Store, host: str):
    headers = add_key(store, "ann", Scope.READ)
    settings = services.settings.model_copy(update={"host": host})
    app = create_app(replace(services, settings=settings))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        found = client.get("/api/info", headers=headers).json()
    assert found["dashboard_token_file"] is None
    assert found["dashboard_url"] == settings.dashboard_url

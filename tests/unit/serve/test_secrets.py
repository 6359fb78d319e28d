"""Secrets are planted wherever the service takes them, and looked for everywhere that it writes or answers."""

import io
import json
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from starlette.testclient import TestClient

from ftlab.settings import Settings
from serve.context import Services
from serve.models.huggingface import CachedHuggingFace
from serve.models.huggingface_lookup import ask_hub
from tests.support.export_artifacts import add_export, write_artifact
from tests.support.huggingface_server import HubServer, Repository
from tests.support.model_folders import write_model
from tests.support.service_fakes import running
from tests.unit.serve.accounts.with_keys import bearer
from tests.unit.serve.all_routes import call, records_of_bob, routes_of
from tracking.notifications.notifier import Notifier, sender
from tracking.store import Store
from tracking.store.rows import metadata

HERE = {"origin": "http://127.0.0.1:8000"}
HUB_TOKEN = "hf_canaryofthehub0000000000000000"
PUSH_TOKEN = "hf_canaryofanuploader000000000000"
SMTP_PASSWORD = "canary-of-the-mail-server"
HOOK = {"url": "http://127.0.0.1:9/canary-in-a-path", "secret": "whsec_" + "Q2FuYXJ5" * 6}
APPRISE = "jsons://user:canary-of-apprise@127.0.0.1:9/"
CHANNEL_SECRETS = {"canary-in-a-path", HOOK["secret"], "canary-of-apprise"}
"""Stored as they are, in the table of channels, and shown nowhere."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "notify_private_hosts": ("127.0.0.1",),
            "smtp_url": "smtp://user@127.0.0.1:9",
            "smtp_password": SMTP_PASSWORD,
        }
    )


@pytest.fixture
def services(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """With the real look-up of models, at a hub that has a gated one."""
    hub = HubServer()
    hub.repositories["org/m"] = Repository(write_model(tmp_path / "hub" / "m"))
    hub.repositories["org/gated"] = Repository(write_model(tmp_path / "hub" / "gated"))
    hub.repositories["org/gated"].gated = "manual"
    hub.uploads.folder, hub.uploads.owners[PUSH_TOKEN] = tmp_path / "uploaded", {"org"}
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    with running(hub.app) as url:
        yield replace(services, huggingface=CachedHuggingFace(partial(ask_hub, endpoint=url)), hub_endpoint=url)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the service logs, at the levels that its processes set."""
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.WARNING, "httpx2")
    return caplog


def plant(client: TestClient, store: Store) -> tuple[dict[str, str], set[str]]:
    """Use every secret once; gives the headers of an admin, and the secrets."""
    admin = bearer(client.post("/api/keys", json={"scopes": ["admin"]}).json()["key"])
    client.post("/api/users", json={"name": "ann"}, headers=admin)
    created = client.post("/api/keys", params={"owner": "ann"}, json={"scopes": ["train"]}, headers=admin).json()["key"]
    rotated = client.post(f"/api/keys/{created.split('_')[1]}/rotate", headers=bearer(created)).json()["key"]
    client.post("/api/session", json={"key": rotated}, headers=HERE)
    cookie = client.cookies["ftlab_session_8000"]
    client.get("/api/session")
    client.cookies.clear()
    client.post("/api/session", json={"key": rotated[:-1]}, headers=HERE)
    client.get("/api/training/jobs", headers=bearer(rotated[:-2] + "zz"))
    client.post(f"/api/keys/{created}/rotate", headers=admin)  # the whole key where its id belongs

    for name, body in {"hook": HOOK, "apprise": {"url": APPRISE}, "mail": {"url": "mailto:me@example.com"}}.items():
        path = f"/api/notifications/channels/{name}"
        assert client.put(path, json=body, headers=admin).status_code == 200
        assert client.post(f"{path}/test", headers=admin).status_code < 300
        client.put(f"/api/notifications/channels/{name}!", json=body, headers=admin)
    deliver(store, client.app.state.services.settings)  # type: ignore[attr-defined]
    hook = {"name": "n", "url": "https://example.com/", "event_types": ["fine_tuning.job.failed"]}
    endpoint = client.post("/v1/webhook_endpoints", json=hook, headers=admin).json()
    turned = client.post(f"/v1/webhook_endpoints/{endpoint['id']}/rotate_secret", json={}, headers=admin).json()
    for model in ("org/gated", "org/none", "org/m"):
        client.post("/api/models/check", json={"model": model}, headers=admin)
    push_artifact(client, store, admin)
    signing = {endpoint["signing_secret"], turned["signing_secret"]}
    keys = {text.split("_")[2] for text in (admin["authorization"], created, rotated)}
    return admin, {*keys, cookie, HUB_TOKEN, PUSH_TOKEN, SMTP_PASSWORD, *signing, *CHANNEL_SECRETS}


def push_artifact(client: TestClient, store: Store, admin: dict[str, str]) -> None:
    """Upload an artifact to the hub, and try what is refused there and here."""
    home = client.app.state.services.settings.home  # type: ignore[attr-defined]
    add_export(store, "job-export")
    write_artifact(home, "job-export", files={"model.gguf": bytes(5000)})
    address = "/api/training/jobs/job-export/exports/gguf-q8_0/push"
    statuses = [
        client.post(address, json={"repo": repo, "token": token}, headers=admin).status_code
        for repo, token in (
            ("org/new", PUSH_TOKEN),
            ("other/new", PUSH_TOKEN),
            ("no name", PUSH_TOKEN),
            ("org/x", f"{PUSH_TOKEN} "),
        )
    ]
    assert statuses == [200, 403, 422, 422]


def deliver(store: Store, settings: Settings) -> None:
    """Try the channels once, as the notifier does: nothing listens at any of them."""

    def now() -> datetime:
        return datetime.now(UTC)

    notifier = Notifier(store, sender(settings, now), now)
    notifier.step()
    notifier.wait(60)


def test_no_secret_is_where_it_need_not_be(
    services: Services, client: TestClient, store: Store, settings: Settings, logged: pytest.LogCaptureFixture
) -> None:
    admin, secrets = plant(client, store)
    bob = records_of_bob(client, store)
    signed = client.post(f"/api/datasets/{bob['dataset_id']}/url?owner=bob", json={}, headers=admin).json()["url"]
    url_key = (settings.home / "url_key").read_text()
    secrets |= {url_key}
    assert all(len(secret) > 12 for secret in secrets)

    routes = routes_of(client.app.openapi())  # type: ignore[attr-defined]
    read = [route for route in routes if route.method in ("GET", "HEAD") and not route.path.endswith("/stream")]
    replies = {route.text: call(client, route, admin, bob) for route in read}
    replies |= {f"{route.text} for bob": call(client, route, admin, bob, owner="bob") for route in read}
    assert sum(reply.status_code == 200 for reply in replies.values()) > 60
    shown = [name for name, reply in replies.items() for secret in secrets if secret in text_of(reply)]
    assert shown == []
    assert [name for name, reply in replies.items() if signed.rpartition("/")[2] in text_of(reply)] == []

    services.trail.flush()
    assert client.get("/api/audit", params={"user": "-"}, headers=admin).json()["data"]
    in_tables = {(table, secret) for table, text in tables(settings).items() for secret in secrets if secret in text}
    assert {table for table, _ in in_tables} == {"channels"}
    assert {secret for _, secret in in_tables} >= CHANNEL_SECRETS
    assert not {secret for _, secret in in_tables} & {HUB_TOKEN, PUSH_TOKEN, SMTP_PASSWORD, url_key}

    assert [secret for secret in secrets if secret in logged.text] == []
    files = [file for file in settings.home.rglob("*") if file.is_file() and not file.name.startswith("ftlab.db")]
    found = {file.name for file in files for secret in secrets if secret.encode() in file.read_bytes()}
    assert found == {"url_key"}
    assert [secret for secret in secrets if secret in repr(services)] == []


def text_of(reply: Any) -> str:
    """The headers and the body, with what is in a ZIP."""
    text = f"{dict(reply.headers)} {reply.text}"
    if reply.headers.get("content-type") == "application/zip" and reply.content:
        with zipfile.ZipFile(io.BytesIO(reply.content)) as opened:
            text += "".join(opened.read(name).decode("utf-8", "replace") for name in opened.namelist())
    return text


def tables(settings: Settings) -> dict[str, str]:
    """The content of each table of the database."""
    engine = create_engine(settings.store_url)
    with engine.connect() as connection:
        found = {
            name: json.dumps([list(row) for row in connection.execute(select(table))], default=str)
            for name, table in metadata.tables.items()
        }
    engine.dispose()
    assert sum(text != "[]" for text in found.values()) > 12
    return found

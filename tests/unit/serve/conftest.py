"""One service for the tests of this folder: a real SQLite store, the rest faked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from cluster.fakes import FakeEventHub
from ftlab.settings import Settings
from serve.app import create_app
from serve.context import Services
from tests.support.databases import make_database
from tests.support.service_fakes import FakeCoordinator, FakeHuggingFace, fake_services
from tracking.store import Store

ROWS = b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n' * 3


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", max_upload_bytes=1024 * 1024)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    make_database(settings.home / "ftlab.db")
    store = Store.open(settings.store_url)
    yield store
    store.close()


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture
def hub() -> FakeEventHub:
    return FakeEventHub()


@pytest.fixture
def huggingface() -> FakeHuggingFace:
    return FakeHuggingFace()


@pytest.fixture
def services(
    settings: Settings, store: Store, coordinator: FakeCoordinator, hub: FakeEventHub, huggingface: FakeHuggingFace
) -> Services:
    return fake_services(settings, store, hub, coordinator=coordinator, huggingface=huggingface)


@pytest.fixture
def app(services: Services) -> FastAPI:
    return create_app(services)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def dataset(client: TestClient) -> dict[str, Any]:
    reply = client.post("/api/datasets", content=ROWS, headers={"x-filename": "chat.jsonl"})
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


@pytest.fixture
def config(dataset: dict[str, Any]) -> dict[str, Any]:
    """A body that is accepted."""
    return {"model": "org/tiny-model", "dataset": dataset["id"]}

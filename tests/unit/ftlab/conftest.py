"""A fake service, and clients that lose no time on it."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ftlab.client import Client, RetryPolicy
from tests.unit.ftlab.cli_runs import Cli
from tests.unit.ftlab.fake_service import FakeService, serving
from tests.unit.serve.streams.running import World, running

QUICK = RetryPolicy(budget_s=10.0, first_delay_s=0.001, max_delay_s=0.01)


@pytest.fixture(scope="session")
def _server() -> Iterator[FakeService]:
    with serving(FakeService()) as service:
        yield service


@pytest.fixture
def fake(_server: FakeService) -> FakeService:
    vars(_server).update(vars(FakeService(url=_server.url)))
    return _server


@pytest.fixture
def address(fake: FakeService) -> str:
    """Where the client and the command line connect to; tests of the real service replace it."""
    return fake.url


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, api_key="ftl_secret", retry=QUICK) as client:
        yield client


@contextmanager
def in_thread(home: Path, **options: Any) -> Iterator[World]:
    """The real service in a thread of its own; `options` are those of `running`."""
    started, stop, worlds = threading.Event(), asyncio.Event(), []
    loop = asyncio.new_event_loop()

    async def serve():
        async with running(home, **options) as world:
            worlds.append(world)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(30)
    yield worlds[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    with in_thread(tmp_path / "home") as world:
        yield world


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch, tmp_path):
    for name in ("FTLAB_SERVER", "FTLAB_API_KEY", "FTLAB_HOME", "FTLAB_HOST", "FTLAB_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def unanswered(unused_port, monkeypatch) -> str:
    """The address of a server that does not exist; commands fail at once instead of trying again."""
    monkeypatch.setattr("ftlab.cli.session.FIRST_CONTACT_S", 0.1)
    return f"http://127.0.0.1:{unused_port}"


@pytest.fixture
def cli(address, monkeypatch, capsys) -> Cli:
    return Cli(address, monkeypatch, capsys)

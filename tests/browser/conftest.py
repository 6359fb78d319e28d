"""One Chromium and one service with jobs in every state; pages that fail on console errors and foreign requests."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna  # noqa: F401  the first view of a sweep would import it while a page waits
import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route, expect

from serve.web.pages import STATIC
from tests.browser.scene import PlayedRun, Scene, furnish
from tests.support.chromium import chromium

__all__ = ["chromium"]

WIDE = {"width": 1280, "height": 800}
SHORT_MS = 15_000
"""How long a page may take; the machine may be busy."""
expect.set_options(timeout=SHORT_MS)


class Server:
    """The application on a port that stays the same when it is stopped and started again."""

    def __init__(self, make_app: Callable[[], FastAPI]) -> None:
        self._make_app = make_app
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = uvicorn.Config(self._make_app(), host="127.0.0.1", port=self.port, log_level="warning")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        """As a kill does: open streams break."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


class World:
    """The scene with its server, and the run that is still training."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.scene = Scene(home)
        self.live: PlayedRun = furnish(self.scene)
        self.server = Server(self.scene.new_app)
        jobs = self.scene.api.get("/api/training/jobs", params={"limit": 100}).json()["data"]
        self.ids: dict[str, str] = {job["name"]: job["id"] for job in jobs}

    def job(self, name: str) -> dict[str, Any]:
        return dict(self.scene.api.get(f"/api/training/jobs/{self.ids[name]}").json())

    def queue(self) -> list[str]:
        """Names of the queued jobs in their order."""
        return [entry["name"] for entry in self.scene.api.get("/api/training/queue").json()["queued"]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service of the module's own: its tests change jobs, one after the other."""
    assert (STATIC / "index.html").is_file(), "build the web app first: make web"
    world = World(tmp_path_factory.mktemp("scene") / "home")
    yield world
    world.live.close()
    world.server.stop()
    world.scene.store.close()


class Held:
    """Requests of a page that wait until a test lets them go on, to force an order."""

    def __init__(self, page: Page, address: str, method: str) -> None:
        self._page, self._method = page, method
        self._is_holding = True
        self.routes: list[Route] = []
        page.route(address, lambda route: self._take(route))

    def _take(self, route: Route) -> None:
        if self._is_holding and route.request.method == self._method:
            self.routes.append(route)
        else:
            route.continue_()

    def wait(self) -> None:
        """Wait for the first request."""
        deadline = time.monotonic() + SHORT_MS / 1000
        while not self.routes:
            assert time.monotonic() < deadline, "the page asks for nothing"
            self._page.wait_for_timeout(20)

    def release(self) -> None:
        """Let the requests go on, and hold no others."""
        self.wait()
        self._is_holding = False
        for route in self.routes:
            route.continue_()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(chromium: Browser, world: World) -> Iterator[OpenPage]:
    """Open a page of the app. It may ask no other host, and log no error unless `may_fail` allows failed requests."""
    pages: list[tuple[Page, list[str]]] = []

    def open_(path: str, *, theme: str = "light", width: int = 1280, may_fail: bool = False) -> Page:
        viewport = WIDE | {"width": width}
        page = chromium.new_page(base_url=world.server.url, viewport=viewport, color_scheme=theme)
        page.set_default_timeout(SHORT_MS)
        faults: list[str] = []
        page.on("console", lambda message: _note(faults, message, may_fail=may_fail))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: _refuse_foreign(faults, request, world.server.url))
        pages.append((page, faults))
        page.goto(path)
        return page

    yield open_
    found = [fault for _, faults in pages for fault in faults]
    for page, _ in pages:
        page.close()
    assert found == []


def _note(faults: list[str], message: ConsoleMessage, *, may_fail: bool) -> None:
    is_expected = may_fail and message.text.startswith("Failed to load resource")
    if message.type in ("error", "warning") and not is_expected:
        faults.append(f"{message.type}: {message.text}")


def _refuse_foreign(faults: list[str], request: Request, own: str) -> None:
    if not request.url.startswith((own, "blob:")):
        faults.append(f"foreign request: {request.url}")

"""Signing in to a service with keys in Chromium, and out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ftlab.schemas.accounts import Scope
from serve.web.pages import STATIC
from tests.browser.conftest import SHORT_MS, WIDE, Server
from tests.browser.scene import Scene
from tests.browser.test_pages import check
from tests.unit.serve.accounts.with_keys import add_key
from tests.unit.tracking.samples import NOW


class Guarded:
    """A service with the key of one user."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.scene = Scene(home)
        self.key = add_key(self.scene.store, "ann", Scope.TRAIN)["authorization"].removeprefix("Bearer ")
        add_key(self.scene.store, "root", Scope.ADMIN)
        self.server = Server(self.scene.new_app)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    assert (STATIC / "index.html").is_file(), "build the web app first: make web"
    guarded = Guarded(tmp_path / "home")
    yield guarded
    guarded.server.stop()
    guarded.scene.store.close()


@pytest.fixture
def page(chromium: Browser, guarded: Guarded) -> Iterator[Page]:
    page = chromium.new_page(base_url=guarded.server.url, viewport=WIDE)
    page.set_default_timeout(SHORT_MS)
    yield page
    page.close()


def test_a_key_opens_the_app_until_the_user_signs_out(page: Page, guarded: Guarded) -> None:
    page.goto("/datasets")
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    check(page)
    field.fill("ftl_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("The API key is wrong")

    field.fill(guarded.key)
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("heading", name="Datasets", exact=True)).to_be_visible()
    expect(page.get_by_text("Signed in as ann")).to_be_visible()
    check(page)
    assert page.evaluate("document.cookie") == ""
    page.reload()
    expect(page.get_by_text("Signed in as ann")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_qr_code_signs_in_and_a_revoked_key_signs_out(page: Page, guarded: Guarded) -> None:
    page.goto(f"/#key={guarded.key}")
    expect(page.get_by_text("Signed in as ann")).to_be_visible()
    assert "ftl_" not in page.url
    with guarded.scene.store.begin() as tx:
        tx.keys.revoke(guarded.key.split("_")[1], now=NOW)
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()

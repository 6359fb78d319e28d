"""A service with keys in Chromium: signing in and out, and the page of keys, users and the audit log."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ftlab.schemas.accounts import Scope
from serve.web.pages import STATIC
from tests.browser.conftest import SHORT_MS, WIDE, Server
from tests.browser.scene import Scene
from tests.browser.test_pages import check
from tests.support.clocks import wait_for
from tests.unit.serve.accounts.with_keys import add_key, bearer
from tests.unit.tracking.samples import NOW


class Guarded:
    """A service with the key of one user."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.scene = Scene(home)
        self.key = add_key(self.scene.store, "ann", Scope.TRAIN)["authorization"].removeprefix("Bearer ")
        self.admin_key = add_key(self.scene.store, "root", Scope.ADMIN)["authorization"].removeprefix("Bearer ")
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


def choose(page: Page, name: str, action: str) -> None:
    page.get_by_role("button", name=f"Actions for {name}").click()
    page.get_by_role("menuitem", name=action).click()


def test_an_admin_manages_keys_and_users_and_reads_what_was_done(page: Page, guarded: Guarded) -> None:
    page.goto(f"/access#key={guarded.admin_key}")
    page.get_by_role("tab", name="Users").click()
    page.get_by_label("New user").fill("Eve!")
    page.get_by_role("button", name="Add the user").click()
    expect(page.get_by_role("alert")).to_contain_text("name")
    page.get_by_label("New user").fill("eve")
    page.get_by_role("button", name="Add the user").click()
    expect(page.get_by_role("row", name="eve")).to_contain_text("0 valid keys")
    check(page)

    page.get_by_role("link", name="eve").click()
    page.wait_for_url("**/access?user=eve")
    page.get_by_role("button", name="Create a key").click()
    dialog = page.get_by_role("dialog", name="Create a key for eve")
    dialog.get_by_label("Name").fill("laptop")
    dialog.get_by_label("Read:").check()
    dialog.get_by_label("Expires after").select_option("30 days")
    check(page)
    dialog.get_by_role("button", name="Create the key").click()
    key = page.get_by_label("The new key", exact=True).and_(page.locator("input")).input_value()
    headers = bearer(key)
    assert guarded.scene.api.get("/api/session", headers=headers).json()["scopes"] == ["read"]
    page.get_by_role("button", name="I have copied it").click()
    row = page.get_by_role("row", name="laptop")
    expect(row).to_contain_text("Valid")
    assert key not in page.content()

    choose(page, "laptop", "Rotate the key")
    page.get_by_role("button", name="Create its replacement").click()
    page.get_by_role("button", name="I have copied it").click()
    expect(page.get_by_role("rowheader", name="laptop")).to_have_count(2)
    old = page.get_by_role("row").filter(has_text=key.split("_")[1])
    old.get_by_role("button", name="Actions for laptop").click()
    page.get_by_role("menuitem", name="Revoke the key").click()
    dialog = page.get_by_role("dialog", name="Revoke laptop?")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    dialog.get_by_role("button", name="Revoke the key").click()
    expect(old).to_contain_text("Revoked")
    assert guarded.scene.api.get("/api/session", headers=headers).status_code == 401

    page.get_by_role("tab", name="Limits").click()
    page.get_by_label("Limits of").select_option("eve")
    page.get_by_label("New limit: Datasets in GB").fill("2.5")
    page.get_by_label("New limit: Datasets in GB").press("Enter")
    expect(page.get_by_role("row").filter(has_text="2.5 GB")).to_be_visible()
    admin = bearer(guarded.admin_key)
    assert guarded.scene.api.get("/api/quota?owner=eve", headers=admin).json()["max_upload_bytes"] == 2.5e9

    page.get_by_role("tab", name="Users").click()
    choose(page, "eve", "Disable the user")
    page.get_by_role("dialog", name="Disable eve?").get_by_role("button", name="Disable the user").click()
    expect(page.get_by_role("row", name="eve")).to_contain_text("Disabled")
    page.get_by_role("tab", name="Audit log").click()
    wait_for(lambda: "/api/users/eve" in guarded.scene.api.get("/api/audit", headers=admin).text, 10, "the audit log")
    page.get_by_role("button", name="Look for new entries").click()
    expect(page.get_by_role("row").filter(has_text="PATCH /api/users/eve")).to_contain_text("200")
    expect(page.get_by_role("row").filter(has_text="DELETE /api/keys/")).to_contain_text("root")
    check(page)
    page.set_viewport_size({"width": 360, "height": 740})
    check(page)


def test_other_users_see_their_own_keys_and_cannot_create_any(page: Page, guarded: Guarded) -> None:
    page.goto(f"/access?tab=users#key={guarded.key}")
    expect(page.get_by_role("row", name="test (this one)")).to_contain_text("train")
    expect(page.get_by_role("tab")).to_have_text(["Keys", "Limits"])
    expect(page.get_by_role("button", name="Create a key")).to_have_count(0)

"""How the web app is sent: the page at every address, compressed and cached assets, and what is no page."""

import gzip
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serve.app import create_app
from serve.web import pages

PAGE = "<!doctype html><title>FineTune Lab</title>"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """A built app."""
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "icon.svg").write_text("<svg/>")
    for name, text in (("index-AbC_1.js", "go()"), ("index-x.css", "a{}")):
        (folder / "assets" / name).write_text(text)
        (folder / "assets" / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    return folder


@pytest.fixture
def client(services, static, monkeypatch):
    monkeypatch.setattr(pages, "STATIC", static)
    with TestClient(create_app(services), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/jobs/job-0123456789ab", "/queue", "/compare?jobs=a,b", "/no/such/page"])
def test_every_address_of_a_page_gets_the_app(client, path):
    reply = client.get(path, headers=BROWSER)
    assert (reply.status_code, reply.text) == (200, PAGE)
    assert reply.headers["cache-control"] == "no-cache"
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert client.head(path, headers=BROWSER).status_code == 200


@pytest.mark.parametrize("path", ["/api/nothing", "/ws/nothing", "/assets/nothing.js", "/docs/nothing", "/robots.txt"])
def test_what_is_no_page_is_not_found_in_a_browser_too(client, path):
    reply = client.get(path, headers=BROWSER)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_programs_get_an_error_for_an_unknown_path(client):
    assert client.get("/nowhere").json()["error"]["code"] == "not_found"
    assert client.post("/nowhere", headers=BROWSER).status_code == 404
    assert client.get("/").text == PAGE


def test_an_asset_is_compressed_and_kept_for_ever(client):
    reply = client.get("/assets/index-AbC_1.js", headers={"accept-encoding": "gzip"})
    assert (reply.text, reply.headers["content-encoding"]) == ("go()", "gzip")
    assert reply.headers["content-type"].startswith("text/javascript")
    assert "immutable" in reply.headers["cache-control"]
    plain = client.get("/assets/index-x.css", headers={"accept-encoding": "identity"})
    assert (plain.text, plain.headers.get("content-encoding")) == ("a{}", None)


@pytest.mark.parametrize("name", ["..%2findex.html", "%2e%2e", ".hidden", "index-x.css.gz", "missing.js"])
def test_no_other_file_is_sent(client, name):
    reply = client.get(f"/assets/{name}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_without_a_build_the_page_says_how_to_make_one(services, tmp_path):
    app = FastAPI()
    pages.install(app, tmp_path / "nothing")
    reply = TestClient(app).get("/", headers=BROWSER)
    assert "make web" in reply.text
    assert reply.status_code == 200

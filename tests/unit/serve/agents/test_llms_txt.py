"""`/llms.txt` and the documentation as Markdown: true, public, and without a way out of its folder."""

import re

import pytest

from ftlab.schemas.accounts import Scope
from serve.agents import llms_txt
from tests.support.documents import ROOT
from tests.unit.serve.accounts.with_keys import add_key

DOCS = ROOT / "docs"


def test_the_introduction_is_public_and_true(client, store, monkeypatch, tmp_path):
    add_key(store, "ann", Scope.ADMIN)
    assert client.get("/api/session").status_code == 401
    reply = client.get("/llms.txt")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    lines = reply.text.splitlines()
    assert (lines[0], lines[2][:2]) == ("# FineTune Lab", "> ")
    assert [line for line in lines if line.startswith("## ")] == ["## API", "## Documentation"]

    links = re.findall(r"\]\(([^)]+)\)", reply.text)
    assert [link for link in links if client.get(link).status_code != 200] == []
    assert {f"/guide/{path.relative_to(DOCS).as_posix()}" for path in (DOCS / "howto").glob("*.md")} <= set(links)

    paths = client.get("/openapi.json").json()["paths"]
    calls = re.findall(r"^- `(\w+) ([^`]+)`: (.+)$", reply.text, re.MULTILINE)
    assert [(method, path) for method, path, _ in calls] == list(llms_txt.CALLS)
    for method, path, summary in calls:
        assert paths[path][method.lower()]["summary"] == summary

    monkeypatch.setattr(llms_txt, "DOCS", tmp_path)
    llms_txt._pages.cache_clear()
    without = client.get("/llms.txt").text
    llms_txt._pages.cache_clear()
    assert ("## API" in without, "/guide/" in without) == (True, False)


def test_a_page_is_the_file_itself(client):
    page = client.get("/guide/howto/submit-a-job.md")
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    assert page.text == (DOCS / "howto" / "submit-a-job.md").read_text("utf-8")


@pytest.mark.parametrize(
    "page", ["none.md", "", "howto", "../README.md", "..%2FREADME.md", "%2Fetc%2Fpasswd", "howto/../../pyproject.toml"]
)
def test_no_other_file_is_sent(client, page):
    reply = client.get(f"/guide/{page}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")

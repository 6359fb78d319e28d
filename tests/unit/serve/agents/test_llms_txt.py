"""`/llms.txt` and the documentation as Markdown: true, public, and without a way out of its folder."""

import re

import pytest

from ftlab.schemas.accounts import Scope
from serve.agents import llms_txt
from tests.support.documents import ROOT
from tests.unit.serve.accounts.with_keys import add_key


@pytest.fixture
def text(client, store) -> str:
    add_key(store, "ann", Scope.ADMIN)
    assert client.get("/api/session").status_code == 401
    reply = client.get("/llms.txt")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    return str(reply.text)


def test_it_is_in_the_format_that_agents_expect(text):
    lines = text.splitlines()
    assert lines[0] == "# FineTune Lab"
    assert lines[2].startswith("> ")
    assert [line for line in lines if line.startswith("## ")] == ["## API", "## Documentation"]


def test_every_link_leads_somewhere(client, text):
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 40
    assert [link for link in links if client.get(link).status_code != 200] == []


def test_every_page_of_the_index_is_linked(text):
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs" / "howto").glob("*.md")}
    assert pages <= set(re.findall(r"\(/guide/([^)]+)\)", text))


def test_the_calls_are_those_of_the_api(client, text):
    paths = client.get("/openapi.json").json()["paths"]
    calls = re.findall(r"^- `(\w+) ([^`]+)`: (.+)$", text, re.MULTILINE)
    assert len(calls) == len(llms_txt.CALLS)
    for method, path, summary in calls:
        assert paths[path][method.lower()]["summary"] == summary


def test_a_page_is_the_file_itself(client):
    page = client.get("/guide/howto/submit-a-job.md")
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    assert page.text == (ROOT / "docs" / "howto" / "submit-a-job.md").read_text("utf-8")


@pytest.mark.parametrize(
    "page", ["none.md", "", "howto", "../README.md", "..%2FREADME.md", "%2Fetc%2Fpasswd", "howto/../../pyproject.toml"]
)
def test_no_other_file_is_sent(client, page):
    reply = client.get(f"/guide/{page}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_a_service_without_its_documentation_links_none(client, monkeypatch, tmp_path):
    monkeypatch.setattr(llms_txt, "DOCS", tmp_path)
    llms_txt._pages.cache_clear()
    try:
        text = client.get("/llms.txt").text
    finally:
        llms_txt._pages.cache_clear()
    assert "## API" in text
    assert "/guide/" not in text

"""The pages: nothing in them acts, nothing is fetched, everything is said."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from ftlab.pages import PAGE_POLICY, check_page, token_page, waiting_page
from ftlab.schemas.check_rules import CheckRule, Severity, severity_of
from ftlab.schemas.checks import CheckReport, CheckState, TokenRow
from tests.unit.ftlab.check_documents import EVIL, REPORT, TOKEN_ROW

VOID = {"meta", "br"}
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "code", "dl", "div", "dt", "dd", "table",
    "thead", "tbody", "tr", "th", "td", "span", "i", "svg", "rect",
}  # fmt: skip


class Reader(HTMLParser):
    """Fails on markup that is not balanced, and gathers tags, attributes and text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(markup)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def pages() -> dict[str, str]:
    return {
        "report": check_page(CheckReport.model_validate(REPORT)),
        "empty": check_page(CheckReport.model_validate(REPORT | {"counts": {}, "findings": [], "num_findings": 0})),
        "tokens": token_page([TokenRow.model_validate(TOKEN_ROW)]),
        "waiting": waiting_page(CheckState(status="working", done_rows=0, total_rows=0)),
    }


@pytest.mark.parametrize("name", pages())
def test_a_page_holds_no_more_than_text_tables_and_bars(name: str):
    markup = pages()[name]
    read = Reader(markup)
    assert read.tags <= ALLOWED
    assert not {attribute for attribute in read.attributes if attribute.startswith("on")}
    assert not read.attributes & {"src", "href", "style"}
    assert "http://" not in markup
    assert "https://" not in markup
    assert "url(" not in markup
    assert "@import" not in markup


@pytest.mark.parametrize("name", pages())
def test_the_policy_allows_the_style_sheet_of_the_page(name: str):
    (style,) = re.findall(r"<style>(.*?)</style>", pages()[name], re.DOTALL)
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in PAGE_POLICY


def test_the_report_is_told():
    text = Reader(pages()["report"]).text
    assert EVIL in text
    for said in (
        "Cannot train: 1 error.",
        "1,250",
        "12.5%",
        "rule_of_tomorrow",
        "2 of 8 are shown",
        "0 to 19",
        "1 of 5",
    ):
        assert said in text
    assert "i note" in text
    assert "i info" not in text
    assert "OK to train" not in text
    assert "OK to train: no errors, no warnings," in Reader(pages()["empty"]).text


def test_the_tokens_are_told_apart():
    markup = pages()["tokens"]
    assert '<span class="special" title="7">&lt;|im_start|&gt;</span>' in markup
    assert '<span class="trained" title="7"><i>⏎\n</i></span>' in markup
    assert '<span class="cut" title="7">☃</span><span class="cut" title="7">▫</span>' in markup
    assert EVIL in Reader(markup).text


def test_a_long_row_says_what_is_not_shown():
    assert "not shown" not in pages()["tokens"]
    long = token_page([TokenRow.model_validate(TOKEN_ROW | {"num_hidden": 1})])
    assert "1 more token is counted but not shown." in Reader(long).text


@pytest.mark.parametrize("rule", CheckRule)
def test_every_rule_has_a_severity_and_a_meaning(rule: CheckRule):
    assert rule.severity in Severity
    assert rule.meaning.endswith(".")
    assert severity_of(rule) is rule.severity


def test_a_rule_of_a_later_service_is_worth_knowing():
    assert severity_of("rule_of_tomorrow") is Severity.INFO
    assert CheckReport.model_validate(REPORT).count_of(Severity.INFO) == 5

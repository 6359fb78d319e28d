"""Every page in both themes, on a phone and a small screen: accessible, within its width, without foreign requests."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.scene import HOSTILE

AXE = Path(__file__).parents[2] / "serve" / "web" / "app" / "node_modules" / "axe-core" / "axe.min.js"
RULES = "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations']})"
JOB_TABS = ("metrics", "samples", "logs", "checkpoints", "events", "config", "data", "info", "export")
PAGES = {
    "jobs": ("/", "support-v1"),
    "no jobs": ("/?q=nothing", "No job matches"),
    "queue": ("/queue", "sweep-rank-2"),
    "nodes": ("/nodes", "throttled: power"),
    "sweeps": ("/sweeps", "support-rates"),
    "sweep": ("/sweeps/support-rates", "Values and results"),
    "compare": ("/compare", "Choose the jobs"),
    "compare curves": ("/compare?jobs={support-v1},{support-v2}", "Loss (evaluation)"),
    "compare results": ("/compare?jobs={support-v1},{support-v2}&tab=results", "Best evaluation"),
    "compare config": ("/compare?jobs={support-v1},{support-v2}&tab=config", "training.learning_rate"),
    "compare samples": ("/compare?jobs={support-v1},{support-v2}&tab=samples", "My order has not arrived"),
    "failed": ("/jobs/{support-hot}", "Why it failed"),
    "running": ("/jobs/{support-v2}", "of 200 steps"),
    "queued": ("/jobs/{urgent-fix}", "next in the queue"),
    "new job": ("/new?dataset=support-heldout.jsonl&model=HuggingFaceTB/SmolLM2-135M-Instruct", "Where"),
    "new job without rows": ("/new", "Drop a file of rows here"),
    "new job as yaml": ("/new?view=yaml", "Config as YAML"),
    "evaluate": ("/evaluate?model=HuggingFaceTB/SmolLM2-135M-Instruct", "Start the evaluation"),
    "datasets": ("/datasets", "support-heldout.jsonl"),
    "dataset": ("/datasets/support-heldout.jsonl", "First rows"),
    "models": ("/models", "support-v1"),
    "chat": ("/chat", "answers beside its base model"),
    "templates": ("/templates", "Built in"),
    "template": ("/templates/advanced", "Use it"),
    "costs": ("/costs", "Total in EUR"),
    "costs by job": ("/costs?by=job", "support-hot"),
    "no costs": ("/costs?until=2000-01-01", "No attempt ended in this period"),
    "notifications": ("/notifications", "support-hot failed"),
    "no notifications": ("/notifications?kind=alarm", "No notification of this kind"),
    "channels": ("/notifications?tab=channels", "No channels yet"),
    "disk": ("/disk", "Your jobs with the largest checkpoints"),
    "access": ("/access", "This service requires no key"),
    "limits": ("/access?tab=limits", "Queued jobs"),
    "users": ("/access?tab=users", "New user"),
    "audit log": ("/access?tab=audit", "Nothing was recorded"),
    "not found": ("/nowhere", "There is no page"),
    **{f"job {tab}": (f"/jobs/{{support-v1}}?tab={tab}", "Download the model") for tab in JOB_TABS},
}


def address(world, path: str) -> str:
    return re.sub(r"\{(.*?)\}", lambda name: world.ids[name[1]], path)


def check(page: Page) -> None:
    """Raise for a serious finding of axe, and for a page that is wider than its window."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate(RULES)["violations"]
    serious = [
        (finding["id"], finding["help"], [node["html"][:200] for node in finding["nodes"][:3]])
        for finding in found
        if finding["impact"] in ("serious", "critical")
    ]
    assert serious == []
    check_width(page)


def check_width(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_both_themes_and_on_a_phone(world, open_page, name):
    path, text = PAGES[name]
    page = open_page(address(world, path))
    expect(page.get_by_text(text).first).to_be_visible()
    page.wait_for_load_state("domcontentloaded")
    expect(page.locator(".loading")).to_have_count(0)
    check(page)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    check(page)
    page.set_viewport_size({"width": 1024, "height": 768})
    check_width(page)


@pytest.mark.parametrize("path", ["/", "/models"])
def test_a_short_name_stays_on_one_line_beside_wide_columns(open_page, path):
    page = open_page(path)
    for width in (1280, 1024, 800):
        page.set_viewport_size({"width": width, "height": 768})
        name = page.get_by_role("link", name="support-v1", exact=True).bounding_box()
        assert name is not None
        assert name["height"] < 30


def test_the_styles_of_a_page_do_not_change_the_next_one(open_page):
    page = open_page("/queue")
    page.get_by_role("link", name="Nodes").click()
    row = page.get_by_role("row", name="GPU 0")
    load, state = row.get_by_role("cell").nth(0).bounding_box(), row.get_by_role("cell").nth(5).bounding_box()
    assert load is not None
    assert state is not None
    assert load["y"] == state["y"]
    assert state["x"] - load["x"] > 300


def test_a_name_is_text_and_never_html(world, open_page):
    page = open_page("/")
    expect(page.get_by_role("link", name=HOSTILE)).to_be_visible()
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    expect(page).to_have_title(re.compile(f"{re.escape(HOSTILE)} · FineTune Lab$"))
    page.goto(f"/compare?jobs={world.ids[HOSTILE]},{world.ids['support-v1']}&tab=config")
    expect(page.get_by_role("columnheader", name=HOSTILE)).to_be_visible()
    assert page.locator("img:not([src='/icon.svg'])").count() == 0


def test_the_machines_lead_to_their_jobs(world, open_page):
    page = open_page("/nodes")
    gpu = page.get_by_role("row", name="GPU 0")
    expect(gpu).to_contain_text("31.4 GB of 85.9 GB")
    expect(page.get_by_role("row", name="GPU 1")).to_contain_text("The driver has lost GPU 1")
    expect(page.get_by_text("1 machine")).to_be_visible()
    gpu.get_by_role("link", name="support-v2").click()
    expect(page.get_by_role("heading", name="support-v2")).to_be_visible()
    expect(page.get_by_role("img", name="Chart of GPU load, %. GPU 0: from")).to_be_visible()
    expect(page.get_by_role("img", name="Chart of CPU, busy cores")).to_be_visible()


def test_a_name_leads_to_the_job_and_the_filter_is_in_the_address(world, open_page):
    page = open_page("/jobs/support-v1?tab=info")
    page.wait_for_url(f"**/jobs/{world.ids['support-v1']}?tab=info")
    page = open_page("/")
    page.get_by_role("button", name="Failed").click()
    page.get_by_role("searchbox").fill("HOT")
    page.wait_for_url("**/?show=failed&q=HOT")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("searchbox").fill("no such name")
    page.get_by_role("link", name="all jobs").click()
    expect(page.get_by_role("searchbox")).to_have_value("")
    expect(page.get_by_text("support-v1")).to_be_visible()


def test_a_link_to_what_was_deleted_says_so_and_shows_nothing_else(world, open_page):
    page = open_page(f"/compare?jobs={world.ids['support-v1']},job-gone", may_fail=True)
    page.get_by_role("button", name="Compare without job-gone").click()
    page.wait_for_url(f"**/compare?jobs={world.ids['support-v1']}")
    page.goto("/chat?model=model-gone")
    expect(page.get_by_role("alert")).to_contain_text("There is no tuned model model-gone")
    expect(page.get_by_label("Message")).to_have_count(0)
    page.get_by_label("Tuned model").select_option(index=1)
    expect(page.get_by_label("Message")).to_be_visible()


def test_charts_of_a_comparison_and_marks_in_the_list(world, open_page):
    page = open_page("/")
    for name in ("support-v1", "support-hot"):
        page.get_by_label(f"Mark {name} for a comparison").check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url(f"**/compare?jobs={world.ids['support-v1']},{world.ids['support-hot']}")
    chart = page.get_by_role("img", name=re.compile(r"Chart of Loss\. support-v1: from .*; support-hot: from"))
    expect(chart.locator("canvas")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the chart Loss", exact=True).click()
        page.get_by_role("menuitem", name="Save as CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0] == "step,support-v1,support-hot"
    assert len(lines) == 201


def test_everything_by_keyboard(world, open_page):
    page = open_page("/")
    expect(page.get_by_text("support-v1")).to_be_visible()
    page.keyboard.press("?")
    help_ = page.get_by_role("dialog", name="Keyboard")
    expect(help_).to_be_visible()
    shortcuts = help_.locator("dt").all_text_contents()
    assert len(shortcuts) == len(set(shortcuts)) > 10
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    expect(help_).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("q")
    page.wait_for_url("**/queue")
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.keyboard.press("/")
    page.keyboard.type("support-v1")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("j")
    page.keyboard.press("t")
    expect(page.locator("html[data-theme=dark]")).to_be_attached()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="support-v1")).to_be_visible()
    page.keyboard.press("3")
    expect(page.get_by_role("tab", name="Logs")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("log")).to_contain_text("Saved checkpoint")

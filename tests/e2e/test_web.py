"""The web app on Ray Serve with a job that really trains: its loss moves, and it is cancelled by a click."""

import re

import pytest
from playwright.sync_api import expect

from tests.support.lab import at_step, follow_until, tiny_job

SLOW_MS = 60_000


@pytest.mark.slow
def test_a_live_job_is_watched_and_cancelled_in_the_browser(lab, client, dataset, chromium):
    job = client.jobs.create(tiny_job(dataset, max_steps=5000, name="seen in the browser"))
    faults: list[str] = []
    page = chromium.new_page(base_url=lab.settings.server_url)
    page.set_default_timeout(SLOW_MS)
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(lab.settings.server_url) else faults.append("!"))
    reply = page.goto("/")
    assert reply is not None
    assert reply.headers["content-encoding"] == "gzip"
    page.get_by_role("link", name="seen in the browser").click()
    page.wait_for_url(f"**/jobs/{job.id}")
    follow_until(client, job, at_step(5))
    steps = page.get_by_text(re.compile(r"^[\d,]+ of 5,000 steps"))
    expect(steps).to_be_visible(timeout=SLOW_MS)
    loss = page.locator(".card", has_text="Loss").first
    shown = loss.inner_text()
    expect(loss).not_to_have_text(shown, timeout=SLOW_MS)
    chart = page.get_by_role("img", name=re.compile(r"Chart of Loss\. loss: from"))
    expect(chart.locator("canvas")).to_be_visible(timeout=SLOW_MS)

    page.get_by_role("button", name="Actions for seen in the browser").click()
    page.get_by_role("menuitem", name="Cancel the job").click()
    page.get_by_role("dialog", name="Cancel seen in the browser?").get_by_role("button", name="Cancel the job").click()
    expect(page.locator(".pill").first).to_contain_text("Cancelled", timeout=SLOW_MS)
    assert client.jobs.get(job.id).status == "cancelled"
    assert faults == []
    page.close()

"""The page follows its service: steps as they are trained, the end of a job, an outage, and rest in between."""

import re

from playwright.sync_api import expect

STREAM = "/api/training/events/stream"
SAMPLES = re.compile("/api/training/jobs/[^/]*/gpu")
"""The load of a job, which its page looks up every ten seconds while it runs."""


def requests_of(page, quiet_ms: int) -> list[str]:
    """The paths that the page asks for, besides samples, once it has asked for nothing for `quiet_ms`."""
    paths: list[str] = []
    page.on("request", lambda request: None if SAMPLES.search(request.url) else paths.append(request.url))
    for _ in range(20):
        page.wait_for_timeout(quiet_ms)
        if not paths:
            return paths
        paths.clear()
    raise AssertionError("the page does not rest")


def hide(page, hidden: bool) -> None:
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
            const state = () => hidden ? 'hidden' : 'visible';
            Object.defineProperty(document, 'visibilityState', {configurable: true, get: state});
            document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


def test_steps_appear_as_they_are_trained_without_a_request(world, open_page):
    page = open_page(f"/jobs/{world.ids['support-v2']}")
    row = open_page("/")
    expect(page.get_by_text("80 of 200 steps")).to_be_visible()
    expect(page.locator(".plot canvas").first).to_be_visible()
    asked = requests_of(page, quiet_ms=1500)
    world.live.train(range(81, 85))
    expect(page.get_by_text("84 of 200 steps")).to_be_visible()
    expect(row.get_by_text("84 of 200 steps")).to_be_visible()
    chart = page.get_by_role("img", name=re.compile("Chart of Loss"))
    shown = world.job("support-v2")["loss"]
    expect(page.locator(".card", has_text="Loss").first).to_contain_text(f"{shown:.3f}".rstrip("0"))
    expect(chart).to_be_visible()
    assert asked == []


def test_a_hidden_tab_does_nothing_and_then_catches_up(world, open_page):
    page = open_page(f"/jobs/{world.ids['support-v2']}")
    expect(page.get_by_text("84 of 200 steps")).to_be_visible()
    asked = requests_of(page, quiet_ms=1500)
    hide(page, True)
    world.live.train(range(85, 90))
    page.wait_for_timeout(1500)
    assert asked == []
    expect(page.get_by_text("84 of 200 steps")).to_be_visible()
    hide(page, False)
    expect(page.get_by_text("89 of 200 steps")).to_be_visible()


def test_the_service_is_killed_and_comes_back(world, open_page):
    page = open_page(f"/jobs/{world.ids['support-v2']}", may_fail=True)
    expect(page.get_by_text("89 of 200 steps")).to_be_visible()
    expect(page.locator(".plot canvas").first).to_be_visible()  # no part of the page is still to be loaded
    world.server.stop()
    banner = page.locator(".banner")
    expect(banner).to_contain_text(re.compile(r"The service does not answer.*\d s ago"))
    expect(page.get_by_text("89 of 200 steps")).to_be_visible()
    world.live.train(range(90, 95))
    world.server.start()
    expect(page.get_by_text("of 200 steps")).to_be_visible()
    expect(banner).to_have_count(0)


def test_after_the_last_job_has_ended_the_page_rests(world, open_page):
    page = open_page(f"/jobs/{world.ids['support-v2']}")
    page.clock.install()
    page.goto(f"/jobs/{world.ids['support-v2']}")
    expect(page.get_by_text("of 200 steps")).to_be_visible()
    world.live.train(range(95, 201)).complete()
    page.clock.run_for(2000)
    expect(page.locator(".pill").first).to_contain_text("Completed")
    expect(page.get_by_role("link", name="Download the model")).to_be_visible()
    # What the last events made stale is read once more, and the last samples of the devices some seconds later.
    page.clock.run_for(17_000)
    asked = requests_of(page, quiet_ms=1000)
    page.clock.run_for(12_000)  # in all less than the silence after which the page takes its stream for dead
    page.wait_for_timeout(300)
    assert [path for path in asked if STREAM not in path] == []

"""The pages of what belongs to an owner: costs."""

from pathlib import Path

from playwright.sync_api import expect


def test_costs_are_summed_by_job_and_downloaded_as_csv(world, open_page):
    page = open_page("/costs")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Job", exact=True).click()
    page.wait_for_url("**/costs?by=job")
    expect(page.get_by_role("rowheader")).to_contain_text(["support-v1", "support-hot"])
    expect(page.locator("tbody tr").first).to_contain_text("0.31 EUR")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("job,")
    assert [line.split(",")[0] for line in lines[1:]] == [world.ids["support-v1"], world.ids["support-hot"]]

    page.get_by_label("Until").fill("2020-01-01")
    page.wait_for_url("**/costs?by=job&until=2020-01-01")
    expect(page.get_by_text("No attempt ended in this period")).to_be_visible()


def test_a_job_shows_its_cost_while_it_trains(world, open_page):
    page = open_page(f"/jobs/{world.ids['support-v2']}?tab=info")
    expect(page.get_by_text("0.08 EUR per hour")).to_be_visible()

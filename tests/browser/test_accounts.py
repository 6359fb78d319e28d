"""The pages of what belongs to an owner: costs, notifications, channels, the first key."""

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.scene import JOBS


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


def test_the_disk_leads_to_the_checkpoints_of_a_job(world, open_page):
    page = open_page("/disk")
    expect(page.get_by_role("row", name="Datasets")).to_contain_text("2 datasets")
    largest = page.get_by_role("row", name="support-v1")
    expect(largest).to_contain_text("147 MB")
    largest.get_by_role("link", name="support-v1").click()
    page.wait_for_url(f"**/jobs/{world.ids['support-v1']}?tab=checkpoints")


def test_the_bell_counts_what_happens_and_what_is_read(world, open_page):
    page = open_page("/")
    before = world.scene.api.get("/api/notifications").json()["num_unread"]
    expect(page.get_by_role("link", name=f"Notifications, {before} unread")).to_be_visible()
    world.scene.api.post(f"{JOBS}/{world.ids['sweep-rank-4']}/pause")
    world.scene.notify()
    bell = page.get_by_role("link", name=f"Notifications, {before + 1} unread")
    bell.click()
    page.wait_for_url("**/notifications")

    page.get_by_role("button", name="Mark as read: sweep-rank-4 is paused").click()
    expect(page.get_by_role("link", name=f"Notifications, {before} unread")).to_be_visible()
    expect(page.locator(".notification").first).not_to_contain_text("Unread")
    page.get_by_role("button", name="Unread", exact=True).click()
    expect(page.get_by_role("link", name="sweep-rank-4 is paused")).to_have_count(0)
    page.get_by_label("Kind", exact=True).select_option("Failed")
    page.wait_for_url("**/notifications?show=unread&kind=failed")
    expect(page.locator(".notification")).to_have_count(1)
    page.get_by_label("Kind", exact=True).select_option("All kinds")
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.get_by_text("Everything is read")).to_be_visible()
    expect(page.get_by_role("link", name="Notifications", exact=True)).to_be_visible()
    assert world.scene.api.get("/api/notifications").json()["num_unread"] == 0


def test_a_channel_is_added_tested_switched_off_and_deleted_after_a_question(world, open_page):
    page = open_page("/notifications?tab=channels", may_fail=True)  # the URL that is refused
    page.get_by_role("button", name="Add a channel").click()
    dialog = page.get_by_role("dialog", name="Add a channel")
    dialog.get_by_label("Name").fill("ops")
    dialog.get_by_label("URL").fill("http://hooks.example.com/secret-path")
    dialog.get_by_role("button", name="Add the channel").click()
    expect(dialog.get_by_role("alert")).to_contain_text("url")
    dialog.get_by_label("URL").fill("https://hooks.example.com/secret-path")
    assert dialog.get_by_label("Secret").input_value().startswith("whsec_")
    dialog.get_by_label("Failed").check()
    dialog.get_by_role("button", name="Add the channel").click()
    row = page.locator("tbody tr")
    expect(row).to_contain_text("https://hooks.example.com/...")
    expect(row).to_contain_text("Failed")

    def choose(action: str) -> None:
        page.get_by_role("button", name="Actions for ops").click()
        page.get_by_role("menuitem", name=action).click()

    choose("Send a test")
    expect(row).to_contain_text("Delivering")
    with world.scene.store.begin() as tx:
        tx.channels.update(tx.channels.get("ops", owner="local"), last_error="The receiver does not answer.")
    expect(row).to_contain_text("The receiver does not answer.")
    choose("Switch it off")
    expect(row).to_contain_text("Off")
    expect(row).to_contain_text("1 waiting")
    choose("Delete the channel")
    dialog = page.get_by_role("dialog", name="Delete ops?")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    dialog.get_by_role("button", name="Delete the channel").click()
    expect(page.get_by_text("No channels yet")).to_be_visible()


def test_the_first_key_closes_the_service_and_this_browser_stays_signed_in(world, open_page):
    page = open_page("/access")
    expect(page.get_by_text("This service requires no key")).to_be_visible()
    page.get_by_role("button", name="Create the first key").click()
    dialog = page.get_by_role("dialog", name="Create the first key")
    expect(dialog.get_by_label("Train:")).to_be_disabled()
    dialog.get_by_role("button", name="Create the key").click()
    page.get_by_role("button", name="I have copied it").click()
    expect(page.get_by_text("Signed in as local")).to_be_visible()
    expect(page.get_by_role("row", name="key (this one)")).to_contain_text("admin")
    page.reload()
    expect(page.get_by_text("Signed in as local")).to_be_visible()
    assert world.scene.api.get(JOBS).status_code == 401

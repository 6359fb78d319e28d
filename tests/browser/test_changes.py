"""What people do on the pages: pause, cancel, resume with suggestions, order the queue, delete."""

import json
import re

from playwright.sync_api import Locator, expect

from tests.browser.conftest import Held
from tests.browser.scene import HOSTILE, JOBS


def test_the_queue_is_ordered_by_keyboard_and_by_dragging(world, open_page):
    page = open_page("/queue")
    assert world.queue()[:4] == ["urgent-fix", "sweep-rank-2", "sweep-rank-4", "sweep-rank-8"]
    down = page.get_by_role("button", name="Move sweep-rank-2 down", exact=True)
    down.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".queue-row").nth(1)).to_contain_text("sweep-rank-4")
    expect(page.get_by_text("sweep-rank-2 is number 3 in the queue.")).to_be_attached()
    assert world.queue()[:3] == ["urgent-fix", "sweep-rank-4", "sweep-rank-2"]

    rows = page.locator(".queue-row")
    rows.filter(has_text="sweep-rank-16").drag_to(rows.filter(has_text="sweep-rank-4"))
    expect(rows.nth(1)).to_contain_text("sweep-rank-16")
    expect(page.get_by_text("sweep-rank-16 is number 2 in the queue.")).to_be_attached()
    assert world.queue()[:3] == ["urgent-fix", "sweep-rank-16", "sweep-rank-4"]

    # Two moves at once reach the service in their order.
    held = Held(page, "**/api/training/jobs/*/move", "POST")
    up = page.get_by_role("button", name="Move sweep-rank-8 up", exact=True)
    up.click()
    held.wait()
    expect(rows.nth(3)).to_contain_text("sweep-rank-8")
    up.click()
    expect(rows.nth(2)).to_contain_text("sweep-rank-8")
    with page.expect_response("**/api/training/queue?*"):  # read again while they are under way
        pass
    page.evaluate("new Promise(requestAnimationFrame)")
    expect(rows.nth(2)).to_contain_text("sweep-rank-8")
    assert len(held.routes) == 1
    held.release()
    expect(page.get_by_text("sweep-rank-8 is number 3 in the queue.")).to_be_attached()
    assert world.queue()[:3] == ["urgent-fix", "sweep-rank-16", "sweep-rank-8"]

    rows.filter(has_text="sweep-rank-32").drag_to(rows.filter(has_text="urgent-fix"))
    expect(page.get_by_text("sweep-rank-32 is number 1 in the queue with priority 80.")).to_be_attached()
    assert world.queue()[:2] == ["sweep-rank-32", "urgent-fix"]


def test_the_queue_shows_the_devices_that_are_free(world, open_page):
    page = open_page("/queue")
    devices = page.get_by_label("Devices")
    expect(devices).to_contain_text("H100 GPUs2 free of 2, 0 used")
    expect(devices).to_contain_text("CPU cores6 free of 8, 2 used")
    expect(devices.get_by_role("meter", name="CPU cores used")).to_have_attribute("value", "2")


def test_a_job_is_paused_and_cancelled_by_click_after_a_question_that_names_it(world, open_page):
    page = open_page(f"/jobs/{world.ids['sweep-rank-2']}")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog", name="Pause sweep-rank-2?").get_by_role("button", name="Pause the job").click()
    expect(page.locator(".pill").first).to_contain_text("Paused")
    assert world.job("sweep-rank-2")["status"] == "paused"

    page = open_page("/", width=360)
    page.get_by_role("button", name="Actions for sweep-rank-2", exact=True).click()
    page.get_by_role("menuitem", name="Cancel the job").click()
    dialog = page.get_by_role("dialog", name="Cancel sweep-rank-2?")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    dialog.get_by_role("button", name="Cancel the job").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(f"#row-{world.ids['sweep-rank-2']}")).to_contain_text("Cancelled")
    assert world.job("sweep-rank-2")["status"] == "cancelled"


def test_a_late_reply_does_not_close_the_dialog_that_is_open_by_then(world, open_page):
    page = open_page(f"/jobs/{world.ids['sweep-rank-16']}")
    held = Held(page, "**/api/training/jobs/*/pause", "POST")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Pause the job").click()
    held.wait()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Actions for sweep-rank-16").click()
    page.get_by_role("menuitem", name="Change the priority").click()
    priority = page.get_by_label("Priority, 0 to 100")
    priority.fill("61")
    held.release()
    expect(page.locator(".pill").first).to_contain_text("Paused")
    page.evaluate("new Promise(requestAnimationFrame)")
    expect(priority).to_have_value("61")
    page.get_by_role("button", name="Set the priority").click()
    expect(priority).to_have_count(0)
    assert world.job("sweep-rank-16")["priority"] == 61


def test_a_failed_job_is_resumed_with_a_suggestion_that_was_edited(world, open_page):
    page = open_page(f"/jobs/{world.ids['support-hot']}", may_fail=True)  # the value that is refused
    expect(page.get_by_text("The training diverged")).to_be_visible()
    page.get_by_role("button", name="Adjust and resume").click()
    dialog = page.get_by_role("dialog", name="Resume support-hot")
    expect(dialog.get_by_label("Adjust the config")).to_be_checked()
    expect(dialog.get_by_label("New value")).to_have_value("0.0002")
    expect(dialog.get_by_label("Continue from")).to_have_value("step-00000050")

    dialog.get_by_label("New value").fill("-1")
    dialog.get_by_role("button", name="Resume the job").click()
    expect(dialog.get_by_role("alert")).to_contain_text("training.learning_rate")
    expect(dialog.get_by_label("New value")).to_have_attribute("aria-invalid", "true")

    dialog.get_by_label("New value").fill("1e-5")
    dialog.get_by_role("button", name="Resume the job").click()
    expect(page.locator(".pill").first).to_contain_text(re.compile("Queued|Recovering"))
    job = world.job("support-hot")
    assert job["config"]["training"]["learning_rate"] == 1e-5
    assert [adjustment["by"] for adjustment in job["adjustments"]] == ["user"]
    page.get_by_role("tab", name="Config").click()
    expect(page.get_by_text("training.learning_rate: 0.9 → 0.00001")).to_be_visible()


def test_a_job_that_was_cancelled_continues_with_its_config(world, open_page):
    page = open_page(f"/jobs/{world.ids[HOSTILE]}")
    page.get_by_role("button", name="Resume", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Use the original config")).to_be_checked()
    dialog.get_by_role("button", name="Resume the job").click()
    expect(page.locator(".pill").first).to_contain_text("Queued")
    assert world.job(HOSTILE)["status"] == "queued"


def test_a_priority_out_of_bounds_is_explained_by_the_service(world, open_page):
    page = open_page("/", may_fail=True)
    page.get_by_role("button", name="Actions for faq-full").click()
    page.get_by_role("menuitem", name="Change the priority").click()
    dialog = page.get_by_role("dialog", name="Priority of faq-full")
    dialog.get_by_label("Priority, 0 to 100").fill("101")
    dialog.get_by_role("button", name="Set the priority").click()
    expect(dialog.get_by_role("alert")).to_contain_text("priority")
    dialog.get_by_label("Priority, 0 to 100").fill("70")
    dialog.get_by_role("button", name="Set the priority").click()
    expect(dialog).to_have_count(0)
    assert world.job("faq-full")["priority"] == 70


def test_a_checkpoint_is_pinned_and_deleted_after_a_question(world, open_page):
    page = open_page(f"/jobs/{world.ids['support-v1']}?tab=checkpoints", may_fail=True)  # what is refused

    def choose(name: str, action: str) -> None:
        page.get_by_role("button", name=f"Actions for {name}").click()
        page.get_by_role("menuitem", name=action).click()

    def delete(name: str) -> Locator:
        choose(name, "Delete the checkpoint")
        dialog = page.get_by_role("dialog", name=f"Delete {name}?")
        expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
        dialog.get_by_role("button", name="Delete the checkpoint").click()
        return dialog

    choose("step-00000050", "Pin it")
    expect(page.get_by_role("row", name=re.compile("^50 "))).to_contain_text("pinned")
    refused = delete("step-00000050")
    expect(refused.get_by_role("alert")).to_contain_text("is pinned")
    refused.get_by_role("button", name="Keep it").click()
    choose("step-00000050", "Unpin it")
    expect(page.get_by_text("pinned")).to_have_count(0)
    expect(delete("step-00000050")).to_have_count(0)
    expect(page.get_by_role("button", name="Actions for step-00000050")).to_have_count(0)
    newest = delete("step-00000200")
    expect(newest.get_by_role("alert")).to_contain_text("newest checkpoint")


def test_old_checkpoints_are_counted_before_they_are_deleted(world, open_page):
    page = open_page("/disk")
    page.get_by_role("button", name="Delete old checkpoints").click()
    dialog = page.get_by_role("dialog", name="Delete old checkpoints")
    dialog.get_by_role("button", name="Show what would be deleted").click()
    expect(dialog.get_by_role("status")).to_have_text("No checkpoint would be deleted. ")
    dialog.get_by_label("Saved more than").fill("0")
    dialog.get_by_role("button", name="Show what would be deleted").click()
    expect(dialog.get_by_role("status")).to_contain_text("of this age would stay")
    before = num_checkpoints(world)
    dialog.get_by_role("button", name=re.compile(r"Delete \d+ checkpoints")).click()
    expect(dialog).to_have_count(0)
    assert 0 < num_checkpoints(world) < before


def test_old_models_are_counted_before_they_are_deleted(open_page):
    page = open_page("/models")
    page.get_by_role("button", name="Delete old models").click()
    dialog = page.get_by_role("dialog", name="Delete old models")
    dialog.get_by_role("button", name="Show what would be deleted").click()
    expect(dialog.get_by_role("status")).to_have_text("No model would be deleted. ")
    dialog.get_by_label("Delivered more than").fill("0")
    dialog.get_by_role("button", name="Show what would be deleted").click()
    expect(dialog.get_by_role("status")).to_contain_text("of this age would stay")


def num_checkpoints(world) -> int:
    return len(world.scene.api.get(f"{JOBS}/{world.ids['support-v1']}/checkpoints").json()["data"])


def test_a_dataset_is_appended_to_a_queued_job(world, open_page):
    page = open_page(f"/jobs/{world.ids['sweep-rank-8']}?tab=data")
    page.get_by_role("button", name="Actions for sweep-rank-8").click()
    page.get_by_role("menuitem", name="Append a dataset").click()
    dialog = page.get_by_role("dialog", name="Append to sweep-rank-8")
    expect(dialog.get_by_role("button", name="Append the dataset")).to_be_disabled()
    dialog.get_by_role("combobox").select_option("support-heldout.jsonl, 12 rows")
    dialog.get_by_role("button", name="Append the dataset").click()
    expect(page.get_by_role("region", name="Training, file 2: support-heldout.jsonl")).to_be_visible()


def test_a_job_is_deleted_only_after_the_question(world, open_page):
    page = open_page(f"/jobs/{world.ids['sweep-rank-2']}")
    page.get_by_role("button", name="Actions for sweep-rank-2").click()
    page.get_by_role("menuitem", name="Delete the job").click()
    dialog = page.get_by_role("dialog", name="Delete sweep-rank-2?")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert world.job("sweep-rank-2")["status"] == "cancelled"


def test_the_page_of_a_job_that_somebody_else_deletes_says_so(world, open_page):
    job = world.ids["sweep-rank-2"]
    page = open_page("/templates", may_fail=True)  # the job that is gone
    stream = Held(page, "**/api/training/events/stream?*", "GET")
    page.goto(f"/jobs/{job}")
    expect(page.get_by_role("heading", name="sweep-rank-2")).to_be_visible()
    assert world.scene.api.delete(f"{JOBS}/{job}").is_success
    stream.wait()
    message = json.dumps({"type": "deleted", "job_id": job})
    headers = {"content-type": "text/event-stream"}
    stream.routes[-1].fulfill(headers=headers, body=f"event: deleted\ndata: {message}\n\n")
    expect(page.get_by_role("heading", name="There is no such job")).to_be_visible()

"""The whole way in a real browser: from a dropped CSV to the ZIP of the tuned model."""

import re
import zipfile
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.support.dropped_files import drop
from tests.support.lab import TINY, Lab

TRAINED_MS = 180_000
READ_MS = 60_000
"""How long the service may take to read the rows with a tokenizer, on a busy machine."""
CSV = "prompt,completion\n" + "".join(f"What is {number} plus 1?,It is {number + 1}.\n" for number in range(40))


def test_from_a_dropped_csv_to_the_zip_of_the_tuned_model(lab: Lab, chromium: Browser, tmp_path: Path) -> None:
    faults: list[str] = []
    page = chromium.new_page(base_url=lab.settings.server_url)
    page.set_default_timeout(READ_MS)
    page.on("console", lambda message: faults.append(_fault(message)) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.append(request.url) if _is_foreign(request.url, lab) else None)
    _submit(page)
    expect(page.locator(".pill").first).to_contain_text("Completed", timeout=TRAINED_MS)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the model").click()
    file = tmp_path / "model.zip"
    download.value.save_as(file)
    page.close()
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert any(name.endswith("adapter_model.safetensors") for name in archive.namelist())
    assert faults == []


def _submit(page: Page) -> None:
    """What a person does on the page of a new job."""
    page.goto("/new")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible(timeout=READ_MS)
    drop(page, "sums.csv", CSV)
    expect(page.get_by_text("40 conversations, read as prompt_completion from csv")).to_be_visible(timeout=READ_MS)
    expect(page.get_by_role("row", name=re.compile("What is 0 plus 1.*assistant"))).to_be_visible()
    page.get_by_label("Model", exact=True).fill(TINY)
    page.get_by_label("Name", exact=True).fill("sums from the browser")
    page.get_by_label("training.max_steps", exact=True).fill("4")
    page.get_by_label("method.max_length", exact=True).fill("64")
    # The doctor and the tokens are those of the real data worker.
    expect(page.get_by_text("Trained tokens")).to_be_visible(timeout=READ_MS)
    expect(page.locator(".token-text .token-trained").first).to_be_visible(timeout=READ_MS)
    expect(page.get_by_text("Tuned model", exact=True)).to_be_visible(timeout=READ_MS)
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url(re.compile("/jobs/job-"))


def _fault(message: ConsoleMessage) -> str:
    return f"{message.text} {message.location}"


def _is_foreign(url: str, lab: Lab) -> bool:
    return not url.startswith((lab.settings.server_url, "blob:"))

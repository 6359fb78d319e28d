"""Drops files on pages in a browser."""

from playwright.sync_api import Page


def drop(page: Page, name: str, text: str) -> None:
    """Drop a file on the page, as a person does who drags it from a folder."""
    transfer = page.evaluate_handle(
        "([name, text]) => { const t = new DataTransfer(); t.items.add(new File([text], name)); return t; }",
        [name, text],
    )
    page.locator(".drop").dispatch_event("drop", {"dataTransfer": transfer})

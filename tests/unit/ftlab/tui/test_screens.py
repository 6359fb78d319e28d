"""Pictures of the screen at both sizes. After a wanted change, write them again with `FTLAB_TEST_WRITE_SCREENS=1`.

What is drawn is compared: text, places and colours; not how Textual writes its SVG.
"""

import os
import random
import time
from datetime import timedelta
from pathlib import Path

import pytest

from ftlab.status import JobStatus
from ftlab.tui.compare_screen import CompareScreen
from ftlab.tui.dialogs import ResumeDialog
from tests.support.documents import ROOT
from tests.unit.ftlab.tui.monitor_runs import LARGE, SMALL, drawn, monitor, press, quiet, run, svg_of, until
from tests.unit.ftlab.tui.sample_jobs import NOW, all_kinds, ended

FOLDER = Path(__file__).parent / "screens"
DOCUMENTED = ROOT / "docs" / "images" / "monitor.svg"
"""The picture of the documents is one of the tested ones, so that it is always true."""


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def check(path: Path, svg: str) -> None:
    if os.environ.get("FTLAB_TEST_WRITE_SCREENS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(svg, "utf-8")
    assert drawn(svg) == drawn(path.read_text("utf-8")), f"{path.name} looks different"


def earlier_jobs():
    """A history, as a service has it after some weeks."""
    noise = random.Random(3)
    names = ("support-v1", "summaries-large", "sql-generator", "tone-check", "translate-de", "classifier", "faq-sft")
    for place, name in enumerate(names):
        loss, finished_at = round(noise.uniform(0.4, 2.4), 3), NOW - timedelta(days=place + 1)
        yield ended(f"job-{name}", JobStatus.COMPLETED, loss=loss, finished_at=finished_at, step=400, total_steps=400)


@pytest.mark.parametrize(
    ("path", "size", "keys"),
    [
        (FOLDER / "jobs-80x24.svg", SMALL, ()),
        (FOLDER / "job-80x24.svg", SMALL, ("enter",)),
        (DOCUMENTED, LARGE, ()),
        (FOLDER / "why-120x40.svg", LARGE, ("j", "j", "j", "j", "j", "6")),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_the_screen_looks_as_before(path, size, keys):
    async def test():
        async with monitor([*all_kinds(), *earlier_jobs()], size) as (app, pilot):
            await press(app, pilot, *keys[:-1])  # the last key finds the job loaded
            await press(app, pilot, *keys[-1:])
            check(path, svg_of(app))

    run(test)


def test_the_resume_dialog_looks_as_before():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "slash", *"steep", "enter")
            await press(app, pilot, "R")
            await until(lambda: isinstance(app.screen, ResumeDialog))
            await quiet(app, pilot)
            check(FOLDER / "resume-80x24.svg", svg_of(app))

    run(test)


def test_the_comparison_looks_as_before():
    async def test():
        async with monitor(size=LARGE) as (app, pilot):
            await press(app, pilot, "space", "G", "k", "space")
            await press(app, pilot, "c")
            await until(lambda: isinstance(app.screen, CompareScreen) and all(d.series for d in app.screen._details))
            app.screen.redraw()
            await quiet(app, pilot)
            check(FOLDER / "compare-120x40.svg", svg_of(app))

    run(test)

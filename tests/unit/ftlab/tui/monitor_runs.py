"""Running the monitor without a terminal."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from textual.events import Key
from textual.keys import _character_to_key, key_to_character
from textual.pilot import Pilot

from ftlab.schemas import Job
from ftlab.tui.app import Monitor
from tests.unit.ftlab.tui.fake_client import FakeClient, FakeFeed
from tests.unit.ftlab.tui.sample_jobs import NOW, all_kinds

SMALL, LARGE = (80, 24), (120, 40)


@asynccontextmanager
async def monitor(
    jobs: Sequence[Job] | None = None,
    size: tuple[int, int] = SMALL,
    feed: FakeFeed | None = None,
    client: Any = None,
    **options: Any,
) -> AsyncIterator[tuple[Monitor, Pilot[None]]]:
    """A running monitor with these jobs, and the keyboard."""
    shown = all_kinds() if jobs is None else jobs
    client = client or FakeClient(shown)
    app = Monitor(client, client, feed=feed or FakeFeed.of(shown), clock=lambda: NOW, **options)
    app.animation_level = "none"
    async with app.run_test(size=size) as pilot:
        await settle(app, pilot)
        yield app, pilot


async def quiet(app: Monitor, pilot: Pilot[None]) -> None:
    """Wait until everything that was caused so far has been handled and drawn.

    Textual's own `pause` takes a process that gets no processor time for one that has nothing to do.
    """
    is_busy = True
    while is_busy:
        await pilot._wait_for_screen()
        app.screen._on_timer_update()
        pumps = [app, *app.screen.walk_children(with_self=True)]
        waiting = [pump for pump in pumps if pump.message_queue_size or pump._next_callbacks]
        is_busy = bool(waiting or app.screen._callbacks) or app.is_handling_keys


async def settle(app: Monitor, pilot: Pilot[None]) -> None:
    """Wait until the snapshots are taken, and the selected job is loaded and drawn."""
    await until(lambda: app.feed.is_taken)
    await quiet(app, pilot)
    job = app.selected_job
    await until(lambda: job is None or (app.detail is not None and app.detail.job.id == app.selected_job.id))
    app.redraw()
    await quiet(app, pilot)


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def press(app: Monitor, pilot: Pilot[None], *keys: str) -> None:
    """Press keys, each when the one before it has had its effect."""
    for key in keys:
        press_at_once(app, key)
        await quiet(app, pilot)
    await settle(app, pilot)


def press_at_once(app: Monitor, *keys: str) -> None:
    """Keys that arrive together, as over a slow connection."""
    for key in keys:
        name = _character_to_key(key) if len(key) == 1 and not key.isalnum() else key
        app.post_message(Key(name, "/" if name == "slash" else key_to_character(name)))


def screen_text(app: Monitor) -> str:
    """The lines of the screen."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text[:width].rstrip() for strip in strips[:height])


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def svg_of(app: Monitor) -> str:
    """A picture of the screen that depends on nothing but what is drawn."""
    svg = app.export_screenshot(title="ftlab monitor")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    return "\n".join(text.rstrip() for text in svg.splitlines()) + "\n"


def drawn(svg: str) -> list[tuple[int, int, str, str]]:
    """Row, column, text or size, and style of everything in a picture, without how SVG writes it."""
    styles = dict(re.findall(r"\.terminal-(r\d+) \{ ([^}]*) \}", svg))
    found = []
    for attributes, text in re.findall(r"<text ([^>]*)>([^<]*)</text>", svg):
        values = dict(re.findall(r'([\w-]+)="([^"]*)"', attributes))
        if "terminal-r" in values.get("class", ""):
            style = styles[values["class"].removeprefix("terminal-")].strip()
            found.append((round(float(values["y"])), round(float(values["x"])), text, style))
    for attributes in re.findall(r"<rect ([^>]*)/>", svg):
        values = dict(re.findall(r'([\w-]+)="([^"]*)"', attributes))
        if values.get("shape-rendering") == "crispEdges":
            size = f"{float(values['width']):.0f}x{float(values['height']):.0f}"
            found.append((round(float(values["y"])), round(float(values["x"])), size, values["fill"]))
    return sorted(found)

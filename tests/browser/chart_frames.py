"""The charts of a job's page: how many frames a second, with many points and live metrics.

    python -m tests.browser.chart_frames [--points 100000] [--metrics-per-s 10] [--seconds 10]

Chromium shows a running job that has `--points` points in each metric. The mouse moves over the chart of the loss all
the time, then drags to zoom in, and moves again. A frame's time is that between two animation frames of the
page, and an empty page shows what the machine can do. The goal is 60 frames a second, so 95 of 100 frames must take at
most 17.5 ms. Without a GPU, Chromium draws on the processor, beside the service.
"""

import argparse
import json
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.bench.harness import percentile
from tests.browser.conftest import WIDE, Server
from tests.browser.scene import PlayedRun, Scene
from tests.support.chromium import CHROMIUM
from tracking.store.records import MetricRecord

GOAL_MS = 17.5
METRICS = ("loss", "learning_rate", "grad_norm", "tokens_per_s", "step_time_s")
CHUNK = 10_000
EMPTY_BOX = {"x": 100.0, "y": 100.0, "width": 500.0, "height": 300.0}
COUNT_FRAMES = """() => {
    const frames_ms = [];
    window.frames_ms = frames_ms;
    let before = performance.now();
    const next = (now) => {
        frames_ms.push(now - before);
        before = now;
        if (window.frames_ms === frames_ms) requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Frames of the web app's charts.")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--metrics-per-s", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder) / "home")
        run = long_run(scene, given.points)
        server = Server(scene.new_app)
        ended = threading.Event()
        trainer = threading.Thread(target=go_on, args=(run, given.points, 1 / given.metrics_per_s, ended))
        trainer.start()
        try:
            found = watch(server.url, run.ref.id, given.seconds)
        finally:
            ended.set()
            trainer.join()
            run.close()
            server.stop()
            scene.store.close()
    print(f"{given.points:,} points in each of {len(METRICS)} metrics, {given.metrics_per_s:g} metric events/s")
    for name, frames_ms in found.items():
        rate = 1000 * len(frames_ms) / sum(frames_ms)
        p95, worst = percentile(frames_ms, 0.95), max(frames_ms)
        print(f"{name}: {rate:.1f} frames/s, p95 {p95:.1f} ms (goal {GOAL_MS:g}), longest {worst:.1f} ms")


def long_run(scene: Scene, num_points: int) -> PlayedRun:
    """A running job that has logged `num_points` steps, one a second."""
    job_id = scene.submit("long", scene.dataset(), training={"max_steps": 2 * num_points})
    begin = datetime.now(UTC) - timedelta(seconds=num_points)
    run = scene.run(job_id, started_at=begin).load()
    for first in range(1, num_points, CHUNK):
        with scene.store.begin() as tx:
            tx.metrics.add(
                [
                    MetricRecord(job_id, name, step, scene.random.random(), begin + timedelta(seconds=step), 1)
                    for step in range(first, min(first + CHUNK, num_points))
                    for name in METRICS
                ]
            )
    run.total_steps = 2 * num_points
    return run


def go_on(run: PlayedRun, step: int, interval_s: float, ended: threading.Event) -> None:
    while not ended.wait(interval_s):
        run.step(step)
        step += 1


def watch(url: str, job_id: str, duration_s: float) -> dict[str, list[float]]:
    """Milliseconds of each frame: on an empty page, while the mouse moves over the whole chart, and after a zoom."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(base_url=url, viewport=WIDE)
        empty = frames(page, EMPTY_BOX, duration_s / 2)
        page.goto(f"/jobs/{job_id}")
        chart = page.get_by_role("img", name="Chart of Loss").first
        chart.wait_for()
        box: Any = chart.bounding_box()
        whole = frames(page, box, duration_s)
        page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + box["height"] / 2, steps=5)
        page.mouse.up()
        zoomed = frames(page, box, duration_s)
        browser.close()
    return {"empty page": empty, "whole chart": whole, "zoomed": zoomed}


def frames(page: Page, box: dict[str, float], duration_s: float) -> list[float]:
    page.evaluate(COUNT_FRAMES)
    end, place = time.monotonic() + duration_s, 0
    while time.monotonic() < end:
        place = (place + 7) % 100
        page.mouse.move(box["x"] + box["width"] * (0.1 + 0.008 * place), box["y"] + box["height"] / 2)
        time.sleep(0.016)
    return [float(value) for value in json.loads(page.evaluate("JSON.stringify(window.frames_ms)"))][2:]


if __name__ == "__main__":
    main()

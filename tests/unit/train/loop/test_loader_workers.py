"""Processes that put batches together: the same bits as without them, and none is left behind."""

import multiprocessing
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.unit.train.runs import CrashError, Job, Link
from tests.unit.train.traces import Rows, Trace, assert_equal, record_rows
from train.plan import StopKind

ORPHAN_TIMEOUT_S = 60
TRAINING: dict[str, Any] = {"gradient_accumulation_steps": 2, "eval_steps": 3}
"""16 rows, 2 a pass: 4 steps an epoch."""
DROPOUT = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.3}
LOADED = TRAINING | {"dataloader_num_workers": 2, "dataloader_prefetch_factor": 1}
VICTIM = """
import json, multiprocessing, sys, time
from pathlib import Path
from tests.unit.train.runs import Job, Link

class Hanging(Link):
    def beat(self, beat):
        super().beat(beat)
        if beat.step == 1:
            print(json.dumps([child.pid for child in multiprocessing.active_children()]), flush=True)
            time.sleep(600)

folder, models, rows = map(Path, sys.argv[1:])
Job(folder, models, rows).train(Hanging(), training={"dataloader_num_workers": 2})
"""


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return record_rows(monkeypatch.setattr)


def trained(job: Job, rows: Rows, links: list[Link], training: dict[str, Any]) -> Trace:
    trace = Trace(job)
    others = multiprocessing.active_children()
    for link in links:
        rows.clear()
        trace.links.append(link)
        with suppress(CrashError):
            job.train(link, training=training, lora=DROPOUT)
        trace.rows |= rows
        assert set(multiprocessing.active_children()) <= set(others)
    return trace


def test_batches_of_workers_are_the_same_bits_through_a_pause_and_a_crash(job: Job, rows: Rows, tmp_path: Path) -> None:
    """The last attempt has no workers, which changes nothing either."""
    twin = Job(tmp_path / "twin", job.models, job.rows, job.eval_rows)
    plain = trained(twin, rows, [Link()], TRAINING)
    links = [Link(stop_at={2: StopKind.PAUSE}), Link(crash_at=4), Link(stop_at={5: StopKind.PAUSE})]
    loaded = trained(job, rows, links, LOADED)
    last = trained(job, rows, [Link()], TRAINING)
    loaded.links += last.links
    loaded.rows |= last.rows
    assert_equal(loaded, plain)
    assert last.links[0].receipt()["why_not"] == []


@pytest.mark.slow
def test_no_worker_outlives_a_training_process_that_is_killed(job: Job) -> None:
    arguments = [str(job.folder), str(job.models), str(job.rows)]
    process = subprocess.Popen([sys.executable, "-c", VICTIM, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("["))
    finally:
        process.kill()
        process.wait()
    workers = [int(pid) for pid in line.strip("[]\n").split(",")]
    assert len(workers) == 2
    deadline = time.monotonic() + ORPHAN_TIMEOUT_S
    while any(_is_alive(pid) for pid in workers):
        assert time.monotonic() < deadline, f"{workers} are still there"
        time.sleep(0.2)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False

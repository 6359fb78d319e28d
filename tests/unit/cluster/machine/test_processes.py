"""Parts are stopped with all that they started, in time or at once."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster.machine.processes import Part
from tests.support.clocks import wait_for
from tests.support.documents import ROOT

DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(0, flush=True)
time.sleep(60)
"""

SUPERVISOR = """
import os, sys
from pathlib import Path
from cluster.machine.processes import Part

for niceness in (0, 5):
    part = Part("part", [sys.executable, "-c", "import time; time.sleep(60)"], {}, Path("part.log"), niceness)
    part.start()
    print(os.getpriority(os.PRIO_PROCESS, part.pid) - os.nice(0))
    part.stop(grace_s=0)
"""


def start(tmp_path: Path, code: str) -> tuple[Part, int]:
    part = Part("part", [sys.executable, "-c", code], {}, tmp_path / "part.log")
    part.start()
    wait_for(lambda: part.log_file.read_text().strip())
    return part, int(part.log_file.read_text().split()[0])


def test_a_part_that_heeds_the_signal_ends_by_itself(tmp_path: Path):
    part, _ = start(tmp_path, POLITE)
    part.stop(grace_s=60)
    assert part.process is not None
    assert part.process.returncode == 0


@pytest.mark.parametrize("is_urgent", [False, True])
def test_a_part_that_does_not_is_killed_with_its_children(
    tmp_path: Path, is_urgent: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cluster.machine.processes.TERMINATE_WAIT_S", 0.1)
    part, child = start(tmp_path, DEAF)
    part.stop(grace_s=60 if is_urgent else 0.1, is_urgent=lambda: is_urgent)
    assert part.process is not None
    assert part.process.returncode == -9
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_second_signal_ends_the_wait(tmp_path: Path):
    part, _ = start(tmp_path, DEAF)
    answers = iter([False, False, True])
    part.stop(grace_s=1e9, is_urgent=lambda: next(answers, True))
    assert not part.is_alive()


def test_parts_of_a_service_that_was_started_nice_are_as_nice(tmp_path: Path):
    """Without root, a part that were less nice than the supervisor could not be started at all."""
    command = ["nice", "-n", "3", sys.executable, "-c", SUPERVISOR]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "5"]

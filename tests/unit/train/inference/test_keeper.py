"""The keeper ends a child process with all that it started, also when the process that needs it is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.clocks import wait_for

KEEPER = Path(__file__).parents[4] / "train" / "inference" / "keeper.py"
CHILD = """
import pathlib, subprocess, sys, time
others = [subprocess.Popen(["sleep", "1000"], start_new_session=new) for new in (False, True)]
pathlib.Path(sys.argv[1]).write_text(" ".join(str(other.pid) for other in others))
time.sleep(float(sys.argv[2]))
sys.exit(7)
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE)
time.sleep(1000)
"""


def command(tmp_path: Path, seconds: float) -> list[str]:
    return ["-S", str(KEEPER), sys.executable, "-S", "-c", CHILD, str(tmp_path / "pids"), str(seconds)]


def started(tmp_path: Path) -> list[psutil.Process]:
    wait_for(lambda: (tmp_path / "pids").exists() and bool((tmp_path / "pids").read_text()), what="the child to start")
    return [psutil.Process(int(pid)) for pid in (tmp_path / "pids").read_text().split()]


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", PARENT, *command(tmp_path, 1000)]) as parent:
        others = started(tmp_path)
        [keeper] = psutil.Process(parent.pid).children()
        parent.kill()
    gone, alive = psutil.wait_procs([*others, keeper], timeout=10)
    assert (len(gone), alive) == (3, [])


def test_the_end_of_the_input_ends_everything(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, *command(tmp_path, 1000)], stdin=subprocess.PIPE) as keeper:
        others = started(tmp_path)
        assert keeper.stdin is not None
        keeper.stdin.close()
        assert keeper.wait(20) == 128 + signal.SIGTERM
    assert psutil.wait_procs(others, timeout=5)[1] == []


def test_the_exit_code_is_that_of_the_child(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, *command(tmp_path, 0.3)], stdin=subprocess.PIPE) as keeper:
        others = started(tmp_path)
        assert keeper.wait(20) == 7
    assert psutil.wait_procs(others, timeout=5)[1] == []

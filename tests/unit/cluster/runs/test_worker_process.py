"""Stacks of a process that hangs, and ending one, on the machine where it runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from cluster.machine.processes import start_ticks
from cluster.runs import worker_process
from cluster.runs.worker_process import WorkerProcess, dump_stacks, end_workers, stacks_of
from tests.support.clocks import wait_for

CODE = """
import time
def waits_for_its_peer():
    print(flush=True)
    time.sleep(60)
waits_for_its_peer()
"""


class Here:
    def get_node_id(self) -> str:
        return "node-1"


@pytest.fixture(autouse=True)
def _on_this_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get_runtime_context", Here)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE)
    assert started.stdout is not None
    started.stdout.readline()
    yield started
    started.kill()
    started.wait()


def identity(process: subprocess.Popen[bytes], *, ticks: int | None = None) -> WorkerProcess:
    return WorkerProcess(0, process.pid, start_ticks(process.pid) if ticks is None else ticks, "node-1", None)


@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_file_tells_where_a_worker_hangs(tmp_path: Path, process: subprocess.Popen[bytes], is_stopped: bool):
    state = "stopped" if is_stopped else "sleeping"
    if is_stopped:
        os.kill(process.pid, signal.SIGSTOP)
    wait_for(lambda: psutil.Process(process.pid).status() == state)
    file = tmp_path / "logs" / "attempt-1-stacks.txt"
    dump_stacks([identity(process)], "No progress for 31 s.", file)
    text = file.read_text("utf-8")
    assert text.startswith("No progress for 31 s.\n")
    assert f"== Worker 0: process {process.pid} on node node-1 ==\nState: {state}" in text
    assert "waits_for_its_peer" in text
    wait_for(lambda: psutil.Process(process.pid).status() == state)  # it is left as it was


def test_a_process_that_may_not_be_looked_into_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, process: subprocess.Popen[bytes]
):
    refusing = tmp_path / "py-spy"
    refusing.write_text(
        "#!/bin/sh\necho 'Permission Denied: Try running again with elevated permissions' >&2\nexit 1\n"
    )
    refusing.chmod(0o755)
    monkeypatch.setattr(worker_process.shutil, "which", lambda *_, **__: str(refusing))
    text = stacks_of(process.pid, start_ticks(process.pid))
    assert "Permission Denied" in text
    assert "ptrace_scope" in text


def test_a_look_that_takes_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, process: subprocess.Popen[bytes]
):
    slow = tmp_path / "py-spy"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(worker_process.shutil, "which", lambda *_, **__: str(slow))
    monkeypatch.setattr(worker_process, "DUMP_TIMEOUT_S", 0.05)
    assert "did not end within" in stacks_of(process.pid, start_ticks(process.pid))


def test_without_py_spy_the_state_is_told(monkeypatch: pytest.MonkeyPatch, process: subprocess.Popen[bytes]):
    monkeypatch.setattr(worker_process.shutil, "which", lambda *_, **__: None)
    text = stacks_of(process.pid, start_ticks(process.pid))
    assert text.startswith("State: ")
    assert "not installed" in text


def test_stacks_are_bounded(monkeypatch: pytest.MonkeyPatch, process: subprocess.Popen[bytes]):
    monkeypatch.setattr(worker_process, "MAX_DUMP_CHARS", 30)
    assert len(stacks_of(process.pid, start_ticks(process.pid))) == 30


def test_only_the_very_process_is_ended(process: subprocess.Popen[bytes]):
    end_workers([identity(process, ticks=1)])
    assert process.poll() is None, "another one has its number by now"
    assert stacks_of(process.pid, 1) == "The process has ended."
    end_workers([identity(process)])
    assert process.wait(10) == -signal.SIGKILL
    end_workers([WorkerProcess(0, process.pid, 1, "node-1", None)])


def test_a_machine_that_does_not_answer_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unreachable(worker: WorkerProcess, task: object) -> None:
        return None

    monkeypatch.setattr(worker_process, "_on_its_node", unreachable)
    file = tmp_path / "stacks.txt"
    dump_stacks([WorkerProcess(3, 1, 1, "node-2", None)], "Head.", file)
    assert "== Worker 3: process 1 on node node-2 ==\nIts machine does not answer." in file.read_text()

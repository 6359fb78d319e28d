"""What a service that died left behind is found and ended, and nothing else is touched."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cluster.machine import orphans
from cluster.machine.orphans import LifeLock, end_leftovers, mark, sweep_unfinished
from ftlab.errors import InvalidRequestError
from ftlab.settings import Settings

Spawn = Callable[..., subprocess.Popen[bytes]]
SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a Python process; it is ended with the test."""
    started = []

    def start(code: str = SLEEP, **variables: str) -> subprocess.Popen[bytes]:
        env = {"PATH": os.environ["PATH"]} | variables
        started.append(subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_parts_of_this_service_are_ended_and_no_other_process(settings: Settings, spawn: Spawn):
    part = spawn(**mark(settings))
    other_service = spawn(**mark(Settings(home=settings.home.with_name("home-b"))))
    of_the_user = spawn(FTLAB_HOME=str(settings.home))
    assert end_leftovers(settings) == 1
    assert part.poll() is not None
    assert other_service.poll() is None
    assert of_the_user.poll() is None
    assert end_leftovers(settings) == 0


def test_a_part_that_lost_its_parent_and_is_stopped_is_ended(
    settings: Settings, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
):
    """A training worker whose raylet was killed: init is its parent now."""
    monkeypatch.setattr("cluster.machine.processes.TERMINATE_WAIT_S", 0.1)
    code = (
        "import os, signal, sys, time\n"
        "if os.fork():\n"
        "    sys.exit()\n"
        "print(os.getpid(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    parent = spawn(code, **mark(settings))
    assert parent.stdout is not None
    orphan = psutil.Process(int(parent.stdout.readline()))
    parent.wait()
    assert end_leftovers(settings) == 1
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_whoever_cleans_up_spares_itself_and_its_parents(settings: Settings, spawn: Spawn):
    """Someone may start the service from a shell that the service itself had started."""
    code = "from cluster.machine.orphans import *; from ftlab.settings import *; print(end_leftovers(load_settings()))"
    inner = spawn(
        code, PYTHONPATH=str(Path(orphans.__file__).parents[2]), FTLAB_HOME=str(settings.home), **mark(settings)
    )
    assert inner.communicate(timeout=60)[0] == b"0\n"


def test_only_one_service_lives_in_a_home(settings: Settings, tmp_path: Path):
    with LifeLock(settings):
        with pytest.raises(InvalidRequestError, match="is already running") as refused, LifeLock(settings):
            pass
        assert refused.value.code == "already_running"
        with LifeLock(Settings(home=tmp_path / "other")):
            pass
    with LifeLock(settings):
        pass


def test_the_lock_goes_with_a_process_that_is_killed(settings: Settings, spawn: Spawn):
    code = (
        "from cluster.machine.orphans import *; from ftlab.settings import *\n"
        "with LifeLock(load_settings()):\n"
        "    print('held', flush=True)\n"
        "    import time; time.sleep(60)\n"
    )
    holder = spawn(code, PYTHONPATH=str(Path(orphans.__file__).parents[2]), FTLAB_HOME=str(settings.home))
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(InvalidRequestError), LifeLock(settings):
        pass
    holder.kill()
    holder.wait()
    with LifeLock(settings):
        pass


def test_folders_that_were_being_written_are_swept(settings: Settings):
    job = settings.home / "jobs" / "job-1"
    half = (job / "checkpoints" / ".tmp-2" / "checkpoint-5", job / ".tmp-model")
    kept = (job / "checkpoints" / "step-00000005", job / "logs", job / "checkpoints" / "bad-step-00000003-1")
    replaced = job / "checkpoints" / ".old-step-00000009"
    for folder in (*half, *kept, replaced):
        folder.mkdir(parents=True)
        (folder / "file").write_text("text")
    sweep_unfinished(settings)
    assert not any(folder.exists() for folder in half)
    assert all((folder / "file").exists() for folder in kept)
    assert (job / "checkpoints" / "step-00000009" / "file").exists(), "what replaces it was never finished"


def test_a_folder_that_cannot_be_swept_stops_nobody(settings: Settings, caplog: pytest.LogCaptureFixture):
    first, second = settings.home / "jobs" / "job-1", settings.home / "jobs" / "job-2" / ".tmp-model"
    first.mkdir(parents=True)
    (first / ".tmp-model").write_text("a file, not a folder")
    second.mkdir(parents=True)
    sweep_unfinished(settings)
    assert "Could not clean up" in caplog.text
    assert not second.exists()

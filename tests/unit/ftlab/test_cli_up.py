"""`ftlab up` and `down`: with a stand-in for the supervisor."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ftlab.cli import up
from ftlab.cli.service_file import ServiceState
from tests.support.clocks import wait_for

SUPERVISOR = """
import json, os, pathlib, signal, sys, time
home = pathlib.Path(os.environ["FTLAB_HOME"])
if os.environ.get("FAIL"):
    print("port 8000 is taken")
    sys.exit(3)
def stop(number, _):
    print(signal.Signals(number).name, flush=True)
    file.unlink()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGQUIT, stop)
ticks = int(pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
state = {"pid": os.getpid(), "started_at_ticks": ticks, "urls": {"API": f"http://127.0.0.1:{os.environ['FTLAB_PORT']}"}}
file = home / "run" / "service.json"
file.parent.mkdir(parents=True, exist_ok=True)
file.write_text(json.dumps(state | {"state": "starting"}))
print("standby", os.environ["FTLAB_STANDBY"], flush=True)
file.write_text(json.dumps(state | {"state": "ready"}))
if not os.environ.get("ONCE"):
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(up, "POLL_S", 0.01)


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    script = tmp_path / "supervisor.py"
    script.write_text(SUPERVISOR)
    command = up.service_command
    stand_in = [sys.executable, str(script)]
    monkeypatch.setattr(up, "service_command", lambda module: stand_in if module == up.SUPERVISOR else command(module))
    return tmp_path / "home"


def test_up_detached_then_down(cli, supervisor):
    run = cli("up", "--home", supervisor, "--port", 8123, "--detach", "--no-standby")
    assert (run.code, run.out) == (0, "API            http://127.0.0.1:8123\n")
    assert (supervisor / "logs" / "supervisor.log").read_text() == "standby False\n"
    run = cli("up", "--home", supervisor, "--detach")
    assert run.code == 1
    assert "is already running" in run.err
    run = cli("down", "--home", supervisor)
    assert run.code == 0
    assert "Stopped." in run.err
    run = cli("down", "--home", supervisor)
    assert (run.code, run.err) == (0, f"No service is running with {supervisor}.\n")


@pytest.mark.parametrize(("flags", "signal", "how"), [([], "SIGTERM", "save"), (["--now"], "SIGQUIT", "newest")])
def test_down_lets_jobs_save_unless_it_is_to_be_now(cli, supervisor, flags, signal, how):
    cli("up", "--home", supervisor, "-d", "-q")
    run = cli("down", "--home", supervisor, *flags)
    assert run.code == 0
    assert how in run.err
    assert (supervisor / "logs" / "supervisor.log").read_text().splitlines()[-1] == signal


@pytest.mark.parametrize(("flags", "timeout_s"), [([], 360.0), (["--now"], 60.0)])
def test_down_waits_as_long_as_jobs_may_take_to_save(cli, supervisor, monkeypatch, flags, timeout_s):
    waited = []
    monkeypatch.setattr(up, "_has_ended", lambda service, timeout_s: waited.append(timeout_s) or True)
    monkeypatch.setenv("FTLAB_STOP_GRACE_S", "300")
    cli("up", "--home", supervisor, "-d", "-q")
    cli("down", "--home", supervisor, *flags)
    assert waited == [timeout_s]


def test_down_ends_what_a_killed_service_left_behind(cli, tmp_path):
    home = tmp_path / "home"
    part = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={"FTLAB_PART_OF": str(home)})
    threading.Thread(target=part.wait).start()  # as init would, so that nobody waits for its end
    file = home / "run" / "service.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"pid": os.getpid(), "state": "ready", "started_at_ticks": 1}))
    run = cli("down", "--home", home)
    assert (run.code, run.err) == (0, "Ended 1 processes that a killed service had left behind.\n")
    assert part.wait(10) != 0
    assert cli("down", "--home", home).err == f"No service is running with {home}.\n"


def test_status_shows_the_parts(cli, supervisor, fake):
    cli("up", "--home", supervisor, "--port", 8123, "-d", "-q")
    try:
        run = cli("status", "--home", supervisor)
        assert run.lines[0].startswith("Service  ready (process ")
        assert "API      http://127.0.0.1:8123" in run.lines
    finally:
        cli("down", "--home", supervisor)


def test_status_of_another_service_leaves_out_the_one_of_this_folder(cli, supervisor, fake, monkeypatch):
    monkeypatch.setenv("FTLAB_HOME", str(supervisor))
    cli("up", "--port", 8123, "-d", "-q")
    try:
        for command in (["status"], ["--server", fake.url, "status"]):
            run = cli(*command)
            assert run.lines[0].startswith("Server "), run.out
            assert "8123" not in run.out
        assert cli("status", "--json").json["service"] is None
    finally:
        cli("down")


def test_a_service_that_does_not_come_up_shows_its_log(cli, supervisor, monkeypatch):
    monkeypatch.setenv("FAIL", "1")
    run = cli("up", "--home", supervisor, "--detach")
    assert run.code == 8
    assert "exit code 3" in run.err
    assert "port 8000 is taken" in run.err


def test_up_in_the_foreground_becomes_the_supervisor(supervisor):
    code = (
        "import sys; from ftlab.cli import main, up;"
        f"up.service_command = lambda module: [sys.executable, {str(supervisor.parent / 'supervisor.py')!r}];"
        f"sys.argv = ['ftlab', 'up', '--home', {str(supervisor)!r}, '--port', '8123']; main.main()"
    )
    root = Path(up.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "ONCE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "standby True\n"


def test_without_the_server_part_one_sentence_says_how_to_get_it(cli, monkeypatch):
    monkeypatch.setattr(up, "find_spec", lambda name: None)
    run = cli("up")
    assert run.code == 2
    assert "pip install" in run.err
    assert run.err.count("\n") == 1


def test_a_reused_process_id_is_not_ours(tmp_path, cli):
    file = tmp_path / "home" / "run" / "service.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"pid": os.getpid(), "state": "ready", "started_at_ticks": 1}))
    run = cli("down", "--home", tmp_path / "home")
    assert (run.code, "Ended 0 processes" in run.err) == (0, True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "state": "ready"}'])
def test_a_torn_state_file_is_no_service(tmp_path, cli, text):
    file = tmp_path / "home" / "run" / "service.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert cli("down", "--home", tmp_path / "home").code == 0


def test_a_zombie_has_ended():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    state = ServiceState(process.pid, "ready")
    wait_for(lambda: not state.is_alive)
    process.wait()
    assert not state.is_alive


def test_flags_are_checked(cli):
    assert cli("up", "--port", "0").code == 2
    assert cli("up", "--ingress", "nginx").code == 2


def test_a_checkout_needs_no_safe_path(monkeypatch):
    monkeypatch.chdir(Path(up.__file__).parents[2])
    assert up.service_command("cluster.machine.supervisor")[1:] == ["-m", "cluster.machine.supervisor"]
    monkeypatch.chdir("/")
    assert up.service_command("cluster.machine.supervisor")[1:] == ["-P", "-m", "cluster.machine.supervisor"]

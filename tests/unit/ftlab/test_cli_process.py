"""The command as a process: exit codes, streams and signals as a shell sees them."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ftlab
from ftlab.cli.commands import app_with
from ftlab.status import JobStatus

ROOT = Path(ftlab.__file__).parents[1]
COMMAND = [sys.executable, "-m", "ftlab.cli.main"]
COMMANDS = [
    "up", "down", "status", "config", "submit", "wait", "logs", "ls", "show", "metrics", "checkpoints", "cancel", "rm",
    "queue", "download", "datasets", "models",
]  # fmt: skip


def start(url, *arguments, **options):
    env = {**os.environ, "FTLAB_SERVER": url, "NO_COLOR": "1"}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=env,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_the_help_page_names_every_command():
    result = CliRunner().invoke(app_with(None), ["--help"])
    assert result.exit_code == 0
    assert [name for name in COMMANDS if f" {name} " not in result.output] == []


@pytest.mark.parametrize("command", [*COMMANDS, "datasets upload", "datasets rm", "models show"])
def test_every_command_has_a_help_page(command):
    result = CliRunner().invoke(app_with(None), [*command.split(), "-h"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("arguments", [["lst"], ["ls", "--limt", "3"], ["show"], ["wait", "x", "--timeout", "soon"]])
def test_usage_errors(arguments):
    assert CliRunner().invoke(app_with(None), arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["wait", "job-001"], 0),
        (["show", "job-404"], 3),
        (["wait", "job-002"], 5),
        (["wait", "job-003"], 6),
        (["nope"], 2),
    ],
)
def test_exit_codes(fake, arguments, code):
    for end in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED):
        fake.add_job(1, end)
    process = start(fake.url, *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in out + err


def test_ctrl_c_leaves_the_job_alone(fake):
    job = fake.add_job(2)
    process = start(fake.url, "wait", "-f", job.id)
    assert process.stderr is not None
    assert process.stderr.readline() == "● The job is training.\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Job job-001 keeps running" in err
    assert "Traceback" not in err
    assert job.status is JobStatus.RUNNING


def test_a_terminal_gets_one_live_line(fake):
    job = fake.add_job(2)

    def finish(_):
        job.add("notice", code="x", message="Something to know.")
        job.move(JobStatus.COMPLETED)

    fake.faults = [None, finish]
    terminal, end = pty.openpty()
    env = {**os.environ, "FTLAB_SERVER": fake.url, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        [*COMMAND, "wait", "-f", "job-001"], cwd=ROOT, env=env, stdin=end, stdout=end, stderr=end
    )
    os.close(end)
    shown = _read_all(terminal)
    assert process.wait(60) == 0
    assert "━━━━━╌" in shown
    assert "2/10" in shown
    assert "Something to know." in shown
    assert "Download the model" in shown


def test_a_terminal_is_asked_before_a_job_is_cancelled(fake):
    job = fake.add_job(2)
    for answer, code, status in ((b"n\n", 1, JobStatus.RUNNING), (b"y\n", 0, JobStatus.CANCELLED)):
        terminal, end = pty.openpty()
        env = {**os.environ, "FTLAB_SERVER": fake.url, "TERM": "xterm"}
        process = subprocess.Popen(
            [*COMMAND, "cancel", "job-001"], cwd=ROOT, env=env, stdin=end, stdout=end, stderr=end
        )
        os.close(end)
        os.write(terminal, answer)
        shown = _read_all(terminal)
        assert process.wait(60) == code
        assert "Cancel job 'a job' (job-001, running, step 2/10)? [y/N]" in shown
        assert job.status is status


def _read_all(terminal: int) -> str:
    """Everything that is written to a terminal until its last writer is gone."""
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end was closed
        while chunk := os.read(terminal, 65536):
            shown += chunk
    os.close(terminal)
    return shown.decode()


def test_a_reader_that_leaves_is_no_error(fake):
    for _ in range(300):
        fake.add_job(name="x" * 200)
    process = start(fake.url, "ls", "-n", "300")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(60)

"""Helper processes of a row: started beside the service, ended by the id that they were started with."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench.harness import BenchError

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
MARK = "bench: "
"""Begins the lines that are meant for us: Ray prints notes of its own to the standard output of who joins it."""


@contextmanager
def server(module: str, *arguments: str, port: int) -> Iterator[None]:
    """`python -m MODULE ARGUMENTS`, from the moment it accepts connections on `port`."""
    with process(module, *arguments, ends_itself=False) as running:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _accepts(port):
            if running.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{module} does not answer on port {port}.")
            time.sleep(0.05)
        yield


@contextmanager
def process(
    module: str, *arguments: str, env: Mapping[str, str] | None = None, ends_itself: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """`python -m MODULE ARGUMENTS` with pipes for its input and output.

    After the block it gets a moment to end by itself, if that is its way, then SIGTERM.
    """
    command = [sys.executable, "-m", module, *arguments]
    running = subprocess.Popen(
        command, cwd=ROOT, env=env or environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield running
    finally:
        if not (ends_itself and _ends_in_time(running)):
            running.terminate()
            if not _ends_in_time(running):
                running.kill()
        running.wait()


def tell(running: subprocess.Popen[str], line: str) -> None:
    """Send a line to a helper process."""
    assert running.stdin is not None
    with suppress(BrokenPipeError):
        running.stdin.write(line + "\n")
        running.stdin.flush()


def answer(running: subprocess.Popen[str]) -> str:
    """What a helper process says next."""
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith(MARK):
            return line.removeprefix(MARK).strip()
    raise BenchError(f"A helper process ended early: {running.args!r}")


def say_back(text: str) -> None:
    """In a helper process: what `answer` returns to the process that started it."""
    print(f"{MARK}{text}", flush=True)


def environment() -> dict[str, str]:
    """The environment without the settings of another service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FTLAB_")}


def _ends_in_time(running: subprocess.Popen[str]) -> bool:
    try:
        running.communicate(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True

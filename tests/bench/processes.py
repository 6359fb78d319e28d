"""Helper processes of a row: started beside the service, ended by the id that they were started with."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from tests.bench.harness import BenchError
from tests.bench.service import ROOT, environment

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0


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
    """The next line of a helper process."""
    assert running.stdout is not None
    line = running.stdout.readline()
    if not line:
        raise BenchError(f"{' '.join(map(str, running.args[2:4]))} ended early.")  # type: ignore[index]
    return line.strip()


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

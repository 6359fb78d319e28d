"""The keeper of a child process: a small program that ends it, and all that it started, once nobody needs it.

`python keeper.py COMMAND...` runs the command in a process group of its own. When the standard input is closed, which
also happens when the process that holds the other end dies in any way, or at SIGTERM, the keeper ends the command by
SIGTERM, and after `GRACE_S` everything that is left of it by SIGKILL. Its exit code is that of the command.

It needs the standard library only, so that every Python can run it.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE_S = 4.0
POLL_S = 0.1
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Constants of prctl(2)."""


def main(command: list[str]) -> int:
    # Orphans of the command become children of this process, also those in other sessions.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _end)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent)
    try:
        while child.poll() is None and not _is_input_closed():
            pass
    except SystemExit:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _stop(child)
    _end_descendants()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end(*_: object) -> None:
    raise SystemExit


def _die_with_parent() -> None:
    # There is one thread only, so a library may be called between fork and exec.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _is_input_closed() -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], POLL_S)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1024)


def _stop(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _end_descendants() -> None:
    """End what is left; a process whose parent ends becomes a child of this one."""
    while pids := _children():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(POLL_S / 10)


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

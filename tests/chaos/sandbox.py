"""Process and network namespaces for the chaos tests: what they kill, mount and bind can only be their own.

The first process of the namespace is ours too. It takes in orphans, as the init of a machine does, and all that is left
ends with it.
"""

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

INSIDE = "FTLAB_CHAOS_SANDBOX"
"""Set inside of the namespaces; its value tells what they separate."""
WITH_NETWORK = "processes, network and mounts"
KINDS = {
    WITH_NETWORK: ("--pid", "--net", "--fork", "--mount-proc", "--kill-child"),
    "processes": ("--map-current-user", "--pid", "--fork", "--mount-proc", "--kill-child"),
}
"""What `unshare` may separate, the best first; the second needs no root."""
SIOCSIFFLAGS = 0x8914
IFF_UP_AND_RUNNING = 0x41


def enter(command: Sequence[str]) -> NoReturn:
    """Become the command, in namespaces of its own where this machine allows that."""
    for kind, options in KINDS.items():
        unshare = ["unshare", *options]
        if shutil.which("unshare") and subprocess.run([*unshare, "true"], capture_output=True).returncode == 0:
            os.execvpe("unshare", [*unshare, *command], os.environ | {INSIDE: kind})
    os.execvp(command[0], command)


def description() -> str:
    """One line about what the tests are separated from."""
    kind = os.environ.get(INSIDE)
    return f"in namespaces of their own ({kind})" if kind else "not separated: `unshare` is not permitted here"


def be_init(command: Sequence[str]) -> int:
    """Run the command as the first process of the namespaces: reap whatever ends, and end with the command."""
    if os.environ.get(INSIDE) == WITH_NETWORK:
        _bring_loopback_up()
    main = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: main.terminate())
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal tells the command as well
    while True:
        pid, status = os.wait()
        if pid == main.pid:
            return os.waitstatus_to_exitcode(status)


def mount_small_disk(folder: Path, size_bytes: int) -> bool:
    """Make `folder` a disk of its own; `False` where that is not permitted. It is gone with the sandbox."""
    if os.environ.get(INSIDE) != WITH_NETWORK:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def _bring_loopback_up() -> None:
    with socket.socket() as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sH", b"lo", IFF_UP_AND_RUNNING))


if __name__ == "__main__":
    sys.exit(be_init(sys.argv[1:]))

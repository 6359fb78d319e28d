"""Free ports on this machine."""

import random
import socket
from contextlib import suppress

FIRST, END = 20_000, 30_000
"""Below the ports that the system hands out by itself, and above those of Ray's workers: none of these is given away
before its user takes it. Replicas behind HAProxy listen from 30000 on."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that are not in use. Raise `OSError` where there are too few."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(FIRST, END), END - FIRST):
        if len(found) == count:
            return found
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    raise OSError("There are no free ports on this machine.")

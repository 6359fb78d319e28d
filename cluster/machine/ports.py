"""Ports of this machine: which are free, and whether a service responds on one."""

import random
import socket
import urllib.error
import urllib.request
from collections.abc import Collection
from contextlib import suppress

from ftlab.errors import InvalidRequestError
from ftlab.settings import Settings

FIRST, END = 20_000, 30_000
"""Below the ports that the system hands out by itself, and above those of Ray's workers: none of these is given away
before its user takes it. Replicas behind HAProxy listen from 30000 on."""


def free_ports(count: int, besides: Collection[int] = ()) -> list[int]:
    """Ports of the loopback address that are not in use, and not `besides`, which somebody will use.

    Raise `OSError` where there are too few.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(FIRST, END), END - FIRST):
        if len(found) == count:
            return found
        if port in besides:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    raise OSError("There are no free ports on this machine.")


def refuse_taken_port(settings: Settings, name: str) -> None:
    """Raise `InvalidRequestError` when the port that the setting `name` gives is in use."""
    port = getattr(settings, name)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host if name == "port" else "127.0.0.1", port))
        except OSError:
            flag = name.replace("_", "-")
            raise InvalidRequestError(
                f"Port {port} is taken. Choose another with --{flag}, FTLAB_{name.upper()} or {name} in ftlab.toml.",
                "port_taken",
                name,
            ) from None


def answers(url: str, *, timeout_s: float) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False

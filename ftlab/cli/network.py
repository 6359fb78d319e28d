"""What `ftlab up` prints when other machines can reach the service: its address, the first key, and a QR code."""

import socket
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftlab.cli.output import Output
    from ftlab.settings import Settings

FIRST_KEY = "cluster.machine.first_key"
UNROUTED = ("192.0.2.1", 9)
"""An address for documentation (RFC 5737): nothing is sent there."""


def show_way_in(settings: "Settings", command: list[str], output: "Output") -> None:
    """Create the first admin key if there is none, and print it with the address for other machines.

    `command` runs `cluster.machine.first_key`. On a terminal, a QR code signs a phone in.
    """
    address = network_url(settings)
    key = create_key(settings, command)
    if key is None:
        output.talk(f"Other machines reach the service at {address}, with an API key.")
        return
    output.talk(f"Other machines reach the service at {address}. Every caller needs an API key from now on.")
    output.talk("This is the first one, with the scope 'admin'. It is not shown again:")
    output.data(key)
    if sys.stdout.isatty() and find_spec("segno"):
        import segno

        # The part behind '#' stays in the browser; the web app signs in with it and removes it.
        segno.make(f"{address}/#key={key}", error="l").terminal(compact=True)
    output.talk(f"On this machine: ftlab login --server {settings.own_url}")


def create_key(settings: "Settings", command: list[str]) -> str | None:
    """Run `command`, which creates a key on the machine of the service; `None` if it printed none."""
    from ftlab.errors import ServiceUnavailableError

    done = subprocess.run(command, env=settings.service_environment(), capture_output=True, text=True)
    if done.returncode != 0:
        raise ServiceUnavailableError(f"No API key could be created: {done.stderr.strip()}")
    return done.stdout.strip() or None


def network_url(settings: "Settings") -> str:
    """The address at which other machines of the network reach the service."""
    from ftlab.settings import ANY_ADDRESS

    host = _own_address() if settings.host == ANY_ADDRESS else settings.host
    return f"http://{host}:{settings.port}"


def _own_address() -> str:
    """The address of this machine on the way to other networks; its name where there is no such way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(UNROUTED)
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])

"""Our application without Ray Serve in front: `python -m tests.bench.own_api HOME PORT [WAKE_PORT]`.

It tells the two apart. It writes to the database of the service in HOME; nobody is told, and only who listens for
datagrams on WAKE_PORT is woken.
"""

import socket
import sys
from pathlib import Path

import uvicorn

from cluster.interfaces import CoordinatorClient
from cluster.policy import Fleet
from ftlab.schemas import Resources
from ftlab.settings import Settings
from serve.app import create_app
from tests.support.service_fakes import FakeCoordinator, fake_services
from tracking.store import Store


class RemoteCoordinator:
    """Wakes a coordinator in another process of this machine."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._address = ("127.0.0.1", port)

    def wake(self) -> None:
        self._socket.sendto(b"wake", self._address)

    def why_too_large(self, resources: Resources) -> str | None:
        return None

    def machines(self) -> Fleet | None:
        return None


def main() -> None:
    settings = Settings(home=Path(sys.argv[1]))
    coordinator: CoordinatorClient = RemoteCoordinator(int(sys.argv[3])) if sys.argv[3:] else FakeCoordinator()
    store = Store.open(settings.store_url, is_waited_for=True)
    services = fake_services(settings, store, coordinator=coordinator)
    uvicorn.run(create_app(services), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")


if __name__ == "__main__":
    main()

"""Our application without Ray Serve in front: `python -m tests.bench.own_api HOME PORT`, to tell the two apart.

It writes to the database of the service in HOME; nobody is woken and nobody is told.
"""

import sys
from pathlib import Path

import uvicorn

from ftlab.settings import Settings
from serve.app import create_app
from serve.live import LiveFeed
from serve.services import Services
from tests.unit.serve.fakes import FakeCoordinator, FakeHub
from tracking.store import Store


def main() -> None:
    settings = Settings(home=Path(sys.argv[1]))
    hub = FakeHub()
    services = Services(settings, Store.open(settings.store_url), FakeCoordinator(), hub, LiveFeed(hub))
    uvicorn.run(create_app(services), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")


if __name__ == "__main__":
    main()

"""The API in a process of its own, for tests of its memory.

python -m tests.unit.serve.datasets.server_process HOME BYTES BUCKETS
"""

import json
import socket
import sys
from pathlib import Path

import uvicorn

from ftlab.settings import Settings
from serve.app import create_app
from tests.support.service_fakes import fake_services
from tracking.store import Store


def main() -> None:
    """Print the port, then serve until killed."""
    home, max_bytes, buckets = sys.argv[1:]
    settings = Settings(home=Path(home), max_upload_bytes=int(max_bytes), buckets=json.loads(buckets))
    store = Store.open(settings.store_url)
    store.migrate()
    app = create_app(fake_services(settings, store))
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()

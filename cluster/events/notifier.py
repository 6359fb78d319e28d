"""The process that makes and delivers notifications: `python -m cluster.events.notifier`."""

import logging
import os
import signal
import threading
from datetime import UTC, datetime

from ftlab.settings import load_settings
from tracking.notifications.notifier import Notifier, sender
from tracking.store import Store


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # Their lines at this level hold the URLs of channels, which are secret.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    settings = load_settings()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def now() -> datetime:
        return datetime.now(UTC)

    Notifier(Store.open(settings.store_url), sender(settings, now), now).run(stop)
    # Without waiting for the threads of deliveries that have not ended.
    os._exit(0)


if __name__ == "__main__":
    main()

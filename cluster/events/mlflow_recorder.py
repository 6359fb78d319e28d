"""The process that fills MLflow from the event log: `python -m cluster.events.mlflow_recorder`."""

import logging
import signal
import threading
from datetime import UTC, datetime

from ftlab.settings import load_settings
from tracking.mlflow_record.api import MlflowApi
from tracking.mlflow_record.recorder import Recorder
from tracking.store import Store


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = load_settings()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    store, api = Store.open(settings.store_url), MlflowApi(settings.mlflow_url)
    Recorder(store, api, settings.home / "jobs", lambda: datetime.now(UTC), settings.server_url).run(stop)


if __name__ == "__main__":
    main()

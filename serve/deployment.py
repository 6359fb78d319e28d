"""The API on Ray Serve: `serve.deployment:build` is the import path of the application."""

import gc
import sys
import time

from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve import Application

from cluster.coordinator_client import RayCoordinatorClient
from cluster.data.client import RayDataClient
from cluster.events.event_hub import RayEventHubClient
from cluster.names import NAMESPACE, ON_HEAD
from ftlab.settings import Settings, load_settings
from serve.context import Services
from serve.http.responses import in_thread
from serve.metrics.process_metrics import ProcessMetrics, metrics_folder
from serve.models.huggingface import CachedHuggingFace
from serve.streams.subscriptions import EventFeed
from tracking.store import Store

MAX_ONGOING_REQUESTS = 4000
"""Each open socket counts as one request."""
SWITCH_INTERVAL_S = 0.0005
LINGER_S = 0.05
"""Events published within this time go to the event hub in one call, so that a burst of submits is few calls."""
SHUTDOWN_TIMEOUT_S = 5.0
"""How long open requests may take before a replica is ended; sockets never end, their clients resume."""


class ApiReplica:
    """One replica. Opens its services in its own process, from the environment of the cluster."""

    def __init__(self) -> None:
        settings = load_settings()
        # Requests wait for the event loop; by default a busy thread would block it for 5 ms at a time.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        event_hub = RayEventHubClient(NAMESPACE, linger_s=LINGER_S)
        self._services = Services(
            settings=settings,
            store=Store.open(settings.store_url, is_waited_for=True),
            coordinator=RayCoordinatorClient(),
            event_hub=event_hub,
            feed=EventFeed(event_hub),
            data=RayDataClient(),
            huggingface=CachedHuggingFace(),
            metrics=ProcessMetrics(metrics_folder(settings)),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve after the constructor, so that the application is never pickled."""
        # Only a replica needs the routes: the launcher, which imports this module too, starts earlier without them.
        from serve.app import create_app

        # Serve's proxy adds `x-request-id` to each reply.
        app = create_app(self._services, sends_request_id=False)
        # Later garbage collections pass over all that was imported: a full one would stop the streams for 0.1 s.
        gc.freeze()
        return app

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica whose event loop or threads hang.

        The database is not checked: without it, the next replica would fail too.
        """
        await in_thread(time.monotonic)


Api = ray_serve.deployment(ray_serve.ingress()(ApiReplica), name="ftlab-api")


def build(args: dict[str, str]) -> Application:
    """The Serve application. `args` may contain `replicas`; the default is the setting `api_replicas`."""
    settings: Settings = load_settings()
    return Api.options(
        num_replicas=int(args.get("replicas", settings.api_replicas)),
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        graceful_shutdown_timeout_s=SHUTDOWN_TIMEOUT_S,
        health_check_period_s=5,
        # Two writes to Ray's logs for every request; `/metrics` counts requests, and the audit log has the changes.
        logging_config={"enable_access_log": False},
        ray_actor_options={"num_cpus": 0, "resources": ON_HEAD},
    ).bind()

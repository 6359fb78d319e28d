"""`/metrics`: the metrics of the service in the text format of Prometheus."""

from collections.abc import Iterable
from itertools import chain

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from serve.context import services_of
from serve.http.responses import in_thread
from serve.metrics.device_metrics import device_metrics
from serve.metrics.service_metrics import service_metrics

router = APIRouter(tags=["health"])


class Scrape:
    """What an encoder of prometheus_client takes for a registry."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


@router.get("/metrics", response_class=PlainTextResponse, summary="Get the metrics of the service for Prometheus")
async def get_metrics(request: Request) -> Response:
    """The same from every replica. 200 also while the database is unavailable; `ftlab_database_up` is then 0."""
    services = services_of(request)
    of_service = await in_thread(service_metrics, services.store, request.app.version)
    of_devices = await in_thread(device_metrics, services.telemetry)
    of_processes = await in_thread(services.metrics.collect)
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    body = encode(Scrape(chain(of_service, of_devices, of_processes)))
    return Response(body, media_type=media_type, headers={"cache-control": "no-store"})

"""The HTTP application, assembled from its routers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import BaseRoute

from ftlab.version import installed_version
from serve import health
from serve.access.audit_trail import AuditRequests
from serve.access.rules import check_rules, describe_access
from serve.accounts import audit, costs, disk, keys, quotas, sessions, users
from serve.agents import llms_txt, mcp_routes
from serve.context import Services, guard
from serve.datasets import checks, intake, preview, upload_routes
from serve.datasets import routes as datasets
from serve.downloads import routes as downloads
from serve.http import errors, openapi, query
from serve.http.body_limit import BodyLimit
from serve.http.json_body import MAX_JSON_BYTES
from serve.http.middleware import Envelope, HostCheck
from serve.http.route_groups import RouteGroup
from serve.jobs import chain_routes, kind_options, templates
from serve.jobs import routes as jobs
from serve.jobs.checkpoints import routes as checkpoints
from serve.jobs.evaluations import routes as evaluations
from serve.jobs.exports import push_routes
from serve.jobs.exports import routes as exports
from serve.jobs.views import comparison, devices, queue, series
from serve.legacy import routes as legacy
from serve.metrics import routes as metrics
from serve.metrics.middleware import CountRequests
from serve.models import routes as models
from serve.notifications import routes as notifications
from serve.openai import chat_routes as openai_chat
from serve.openai import file_routes as openai_files
from serve.openai import grader_routes as openai_graders
from serve.openai import job_routes as openai_jobs
from serve.openai import model_routes as openai_models
from serve.openai import permission_routes as openai_permissions
from serve.openai import webhook_routes as openai_webhooks
from serve.streams import descriptions, server_sent_events, websocket
from serve.sweeps import routes as sweeps
from serve.telemetry import routes as telemetry
from serve.web import pages

TITLE = "FineTune Lab"
DESCRIPTION = """\
API for queueing, running and monitoring fine-tuning jobs of language models.

To train a model: upload a file of rows (`POST /api/datasets`), submit a job (`POST /api/training/jobs`), watch it
(`GET /api/training/jobs/{job_id}` or the WebSocket `/ws/training/{job_id}`), and download the model
(`GET /api/training/jobs/{job_id}/download/model`).

The command line `ftlab` and the Python package of the same name do all of this; `ftlab status` prints the addresses of
MLflow, which has the metrics of every job, and of the Ray dashboard.
"""

STRICT_ROUTERS = (
    server_sent_events.router,
    queue.router,
    devices.router,
    checkpoints.router,
    kind_options.router,
    evaluations.router,
    exports.router,
    push_routes.router,
    quotas.router,
    costs.router,
    sessions.router,
    users.router,
    keys.router,
    audit.router,
    disk.router,
    jobs.router,
    series.router,
    sweeps.router,
    telemetry.router,
    comparison.router,
    templates.router,
    downloads.router,
    checks.router,
    preview.router,
    chain_routes.router,
    datasets.router,
    upload_routes.router,
    models.router,
    notifications.router,
    openai_chat.router,
    openai_files.router,
    openai_models.router,
    openai_graders.router,
    openai_webhooks.router,
    mcp_routes.router,
)
# Links that are passed on and health checks may have additional query parameters. The earlier clients' paths come
# last: some have a parameter where a canonical path has a word. Jobs of OpenAI's clients are listed by any key of their
# metadata, and what is refused in any case need not be right.
LENIENT_ROUTERS = (
    health.router,
    metrics.router,
    datasets.downloads,
    llms_txt.router,
    websocket.router,
    openai_jobs.router,
    openai_permissions.router,
    legacy.router,
)


def create_app(services: Services, *, sends_request_id: bool = True) -> FastAPI:
    """The application over `services`, which the caller opens and closes.

    `sends_request_id` is off behind a server that adds the header `x-request-id` itself.
    """
    app: FastAPI = FastAPIOffline(
        title=TITLE,
        version=_version(),
        description=DESCRIPTION,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        routes=_route_groups(),
        middleware=[
            Middleware(CountRequests),
            Middleware(AuditRequests),
            Middleware(Envelope, sends_request_id=sends_request_id),
            Middleware(
                HostCheck,
                hosts=[services.settings.host, *services.settings.allowed_hosts],
                takes_addresses=not services.settings.is_loopback,
            ),
            Middleware(BodyLimit, json_bytes=MAX_JSON_BYTES, upload_bytes=services.settings.max_upload_bytes),
        ],
    )
    app.state.services = services
    pages.install(app)
    errors.install(app)
    app.openapi = _document  # type: ignore[method-assign]
    return app


@cache
def _api_routes() -> list[BaseRoute]:
    """The routes of the API, which all applications of a process share.

    FastAPI analyses a route when the first request comes to it, and keeps the result with the route: together these
    take a third of a second.
    """
    check_rules(getattr(route, "path", "") for router in STRICT_ROUTERS + LENIENT_ROUTERS for route in router.routes)
    api = APIRouter()
    for router in STRICT_ROUTERS:
        api.include_router(router, dependencies=[Depends(_strict_guard)])
    for router in LENIENT_ROUTERS:
        api.include_router(router, dependencies=[Depends(guard)])
    return api.routes


@cache
def _route_groups() -> list[BaseRoute]:
    """The routes of the API as requests search them."""
    routers = STRICT_ROUTERS + LENIENT_ROUTERS
    return [
        RouteGroup(included, (getattr(route, "path", "") for route in router.routes))
        for included, router in zip(_api_routes(), routers, strict=True)
    ]


async def _strict_guard(request: Request) -> None:
    """Dependency of the strict routers: one for both checks, as FastAPI works through each dependency of a request."""
    await guard(request)
    await query.refuse_unknown(request)


@cache
def _document() -> dict[str, Any]:
    """The description of the API, which all applications of a process share: making it takes more than a second."""
    document = get_openapi(title=TITLE, version=_version(), description=DESCRIPTION, routes=_api_routes())
    return openapi.complete(document, descriptions.describe_streams, describe_access)


def _version() -> str:
    return installed_version() or "unknown"


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    await services.feed.start()
    sweeping = asyncio.create_task(intake.sweep_now_and_then(services))
    noting = asyncio.create_task(services.trail.run())
    counting = asyncio.create_task(services.limits.run(services.store))
    try:
        async with mcp_routes.running_mcp(app):
            yield
    finally:
        sweeping.cancel()
        noting.cancel()
        counting.cancel()
        await services.feed.stop()
        await services.close()

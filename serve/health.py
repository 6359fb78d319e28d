"""`/health`: this process is alive. `/ready`: a job that is submitted now would be run. `/api/info`: addresses."""

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cluster.machine.environment import token_file
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import ServiceInfo
from ftlab.schemas.replies import Health, Part, Readiness
from serve.context import Services, services_of
from serve.http.errors import RETRY_AFTER_S, request_id_of
from serve.http.responses import in_thread, reply
from serve.jobs.views.queue import is_scheduling

router = APIRouter(tags=["health"])


@router.get("/health", response_model=Health, summary="Check whether this process responds")
async def get_health() -> Response:
    return reply(Health())


@router.get("/ready", response_model=Readiness, summary="Check whether every component is available")
async def get_ready(request: Request) -> Response:
    """200 when all components are available, else 503 with the same document plus the error."""
    readiness = await in_thread(_check, services_of(request))
    if readiness.status == "ready":
        return reply(readiness)
    away = " ".join(part.message for part in readiness.parts.values() if not part.ok)
    error = ServiceUnavailableError(away, "not_ready").to_wire(request_id_of(request))
    return JSONResponse(readiness.model_dump(mode="json") | error, 503, {"retry-after": str(RETRY_AFTER_S)})


@router.get("/api/info", response_model=ServiceInfo, summary="Get the version and the addresses of MLflow and Ray")
async def get_info(request: Request) -> Response:
    """Both pages are for a browser on the machine of the service, where they listen."""
    settings = services_of(request).settings
    token = str(token_file(settings)) if settings.is_loopback else None
    return reply(
        ServiceInfo(
            version=request.app.version,
            mlflow_url=settings.mlflow_page("experiments"),
            dashboard_url=settings.dashboard_url,
            dashboard_token_file=token,
        )
    )


def _check(services: Services) -> Readiness:
    try:
        with services.store.read() as tx:
            scheduling = is_scheduling(tx, datetime.now(UTC))
    except ServiceUnavailableError:
        database = Part(ok=False, message="The database does not answer.")
        coordinator = Part(ok=False, message="The scheduler's state is unknown without the database.")
    else:
        database = Part(ok=True, message="The database answers.")
        coordinator = Part(
            ok=scheduling,
            message="The scheduler is running." if scheduling else "The scheduler is starting or unavailable.",
        )
    ok = database.ok and coordinator.ok
    return Readiness(status="ready" if ok else "unavailable", parts={"database": database, "coordinator": coordinator})
